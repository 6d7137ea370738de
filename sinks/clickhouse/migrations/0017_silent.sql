-- What the pipeline itself writes of a user (an import, a rebuilt tag, a touch that failed) is no
-- behaviour: nobody was there. What counts users or when they were there leaves it out; `events`
-- and `journeys` keep it, for questions that name such an event. `migrate` fills what is empty.

ALTER TABLE journeys
    ADD COLUMN IF NOT EXISTS silent Bool ALIAS event IN ('tag_imported', 'tag_backfilled', 'touch_failed') COMMENT 'written by the pipeline itself: no behaviour of the user';

ALTER TABLE events_per_minute_of_events MODIFY QUERY
SELECT source, event, toStartOfMinute(timestamp) AS minute, channel, count() AS events, uniqState(user_key) AS users
FROM events
WHERE event NOT IN ('tag_imported', 'tag_backfilled', 'touch_failed')
GROUP BY source, event, minute, channel;

TRUNCATE TABLE events_per_minute SYNC;

ALTER TABLE users_per_day_of_events MODIFY QUERY
SELECT toDate(timestamp, 'Asia/Shanghai') AS day, source, channel, event, uniqState(user_key) AS users, count() AS events
FROM events
WHERE event NOT IN ('tag_imported', 'tag_backfilled', 'touch_failed')
GROUP BY day, source, channel, event;

TRUNCATE TABLE users_per_day SYNC;

ALTER TABLE activity_of_events MODIFY QUERY
SELECT user_key, toDateTime(toStartOfInterval(timestamp, toIntervalMinute(15)), 'UTC') AS quarter, source, min(timestamp) AS first, max(timestamp) AS last, count() AS events
FROM events
WHERE event NOT IN ('tag_imported', 'tag_backfilled', 'touch_failed')
GROUP BY user_key, quarter, source;

TRUNCATE TABLE activity SYNC;

ALTER TABLE users_of_events MODIFY QUERY
SELECT
    user_key,
    any(events.user) AS user,
    min(timestamp) AS first,
    max(timestamp) AS last,
    count() AS events,
    argMinIfState(toString(events.channel), (timestamp, _partition, _offset), events.channel != '') AS channel
FROM events
WHERE event NOT IN ('tag_imported', 'tag_backfilled', 'touch_failed')
GROUP BY user_key;

TRUNCATE TABLE users SYNC;
