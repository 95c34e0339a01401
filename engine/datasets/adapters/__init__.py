"""Public layouts as contract files: each module writes the folder of one layout as files of the contract."""
