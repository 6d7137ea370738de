-- What the pipeline itself writes of a user (an import, a rebuilt tag, a touch that failed) is no
-- behaviour: nobody was there. What counts users or when they were there leaves it out; `events`
-- and `journeys` keep it, for questions that name such an event. `migrate` fills what is empty. Tables
-- and views are made anew: a view whose query was modified gives its blocks other tokens after a
-- restart of the server, and an insert that is repeated then would count twice.

ALTER TABLE journeys
    ADD COLUMN IF NOT EXISTS silent Bool ALIAS event IN ('tag_imported', 'tag_backfilled', 'touch_failed') COMMENT 'written by the pipeline itself: no behaviour of the user';

DROP VIEW IF EXISTS events_per_minute_of_events;

CREATE OR REPLACE TABLE events_per_minute AS events_per_minute;

CREATE MATERIALIZED VIEW IF NOT EXISTS events_per_minute_of_events TO events_per_minute AS
SELECT source, event, toStartOfMinute(timestamp) AS minute, channel, count() AS events, uniqState(user_key) AS users
FROM events
WHERE event NOT IN ('tag_imported', 'tag_backfilled', 'touch_failed')
GROUP BY source, event, minute, channel;

DROP VIEW IF EXISTS users_per_day_of_events;

CREATE OR REPLACE TABLE users_per_day AS users_per_day;

CREATE MATERIALIZED VIEW IF NOT EXISTS users_per_day_of_events TO users_per_day AS
SELECT toDate(timestamp, 'Asia/Shanghai') AS day, source, channel, event, uniqState(user_key) AS users, count() AS events
FROM events
WHERE event NOT IN ('tag_imported', 'tag_backfilled', 'touch_failed')
GROUP BY day, source, channel, event;

DROP VIEW IF EXISTS activity_of_events;

CREATE OR REPLACE TABLE activity AS activity;

CREATE MATERIALIZED VIEW IF NOT EXISTS activity_of_events TO activity AS
SELECT user_key, toDateTime(toStartOfInterval(timestamp, toIntervalMinute(15)), 'UTC') AS quarter, source, min(timestamp) AS first, max(timestamp) AS last, count() AS events
FROM events
WHERE event NOT IN ('tag_imported', 'tag_backfilled', 'touch_failed')
GROUP BY user_key, quarter, source;

DROP VIEW IF EXISTS users_of_events;

CREATE OR REPLACE TABLE users AS users;

CREATE MATERIALIZED VIEW IF NOT EXISTS users_of_events TO users AS
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
