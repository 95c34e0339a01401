"""Learn: from judged queries and the log to a tokenizer, a generator, signals and rankers, by fold.

Holds judged pairs only; what a query's other candidates say of them (list-centred features) is taken block by block.
"""
