"""What the daemon knows: records, their life cycles and where they are kept.

`machine` holds every transition, `records` the values, `database` the file, `store` the tables in memory.
"""
