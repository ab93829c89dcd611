"""Judge stored rates: wrong values, gaps, wrong dates and missing currencies."""
