"""What the rows say about how results came to be: lineage in both directions, and why a run executed or did not.

`walk` finds what came before and after, `lineage` describes it and `picture` draws it as text. `meaning` takes a run
apart into what makes up its key, `likeness` finds the earlier run to compare it with, `difference` compares, `why` puts
it all together and `reasons` counts it for a whole workflow. Nothing here changes the store.
"""
