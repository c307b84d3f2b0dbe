"""Reading what others wrote: one reader for each kind of file, whose every failure is one line.

What comes back is plain data: dictionaries with names as keys, lists, text, true and false, None, and finite numbers of
64 bits, no more than `plain.MAX_DEPTH` levels deep. Nothing that is read is executed, and nothing else is made of it:
no dates, no objects. What the fields mean is checked next, by `typed.typed`.

::

    texts.py       bytes of a file, as UTF-8 text of bounded size
    plain.py       what data may consist of
    yaml_files.py  YAML: policies, search spaces, a run's config.yaml, values on the command line
    json_files.py  JSON documents, and files with one JSON object per line
    typed.py       plain data held against a record's types
"""
