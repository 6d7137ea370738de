-- A record of `tags` is all that one event moved: several rows have one offset, a tag once each.
-- User, tag, time and message_id tell a change from all others; an id of its own said nothing more.
ALTER TABLE tag_changes DROP COLUMN IF EXISTS change_id;

ALTER TABLE tag_changes MODIFY COLUMN _offset COMMENT 'offset in tags; all changes of one event have the same';
