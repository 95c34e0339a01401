"""Answer: from queries to scored, explained candidates. One way, for a block of any size: `answer.answer`."""
