-- What each rule decided and what became of its touches: sent, held back (and by what), the
-- holdout group, who reached the goal, and the channel's answers.
-- :param rule String = -- only this rule; empty: all
-- :param from Date = 2000-01-01 -- first day (Asia/Shanghai)
-- :param to Date = 2100-01-01 -- last day
-- :column rule -- id of the rule
-- :column decided_sent -- decisions to send
-- :column suppressed -- decisions that something held back
-- :column held -- decisions that wait, for a quiet hour to end say
-- :column holdout -- decisions of the holdout group
-- :column exited -- what began and ended before its time
-- :column converted -- users that reached the rule's goal in time
-- :column delivered -- touches that the channel took
-- :column failed -- touches that it refused
-- :column unknown -- touches of which nobody knows
-- :column not_sent_by_reason -- how many were not sent, by reason
-- :example touches_by_rule --param rule=cart_30m
-- :plot bar rule decided_sent,suppressed,held,holdout,exited
SELECT
    rule,
    sumIf(touches, stage = 'decision' AND outcome = 'sent') AS decided_sent,
    sumIf(touches, stage = 'decision' AND outcome = 'suppressed') AS suppressed,
    sumIf(touches, stage = 'decision' AND outcome = 'held') AS held,
    sumIf(touches, stage = 'decision' AND outcome = 'holdout') AS holdout,
    sumIf(touches, stage = 'decision' AND outcome = 'exited') AS exited,
    sumIf(touches, stage = 'decision' AND outcome = 'converted') AS converted,
    sumIf(touches, stage = 'receipt' AND outcome = 'sent') AS delivered,
    sumIf(touches, stage = 'receipt' AND outcome = 'failed') AS failed,
    sumIf(touches, stage = 'receipt' AND outcome = 'unknown') AS unknown,
    sumMapIf(map(toString(reason), touches), stage = 'decision' AND outcome NOT IN ('sent', 'converted')) AS not_sent_by_reason
FROM touches_by_rule
WHERE day BETWEEN {from:Date} AND {to:Date} AND ({rule:String} = '' OR rule = {rule:String})
GROUP BY rule
ORDER BY rule
