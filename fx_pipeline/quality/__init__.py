"""What looks wrong in stored rates: verdicts, learnt limits on moves, wrong dates, missing currencies."""
