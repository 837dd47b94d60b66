"""Workers: stage, run, capture, complete. User code runs here and nowhere else.

An *executor* is one persistent process that runs user code on its main thread, one run at a time. It is told what to do
by the engine over one socket and answers on the same; it decides nothing and never opens the database.
"""
