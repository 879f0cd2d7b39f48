class Entry:
    pass
