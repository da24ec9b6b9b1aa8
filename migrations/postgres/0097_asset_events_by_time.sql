-- For lists of the events of a span of time, in its order.
CREATE INDEX asset_event_by_timestamp ON asset_event (timestamp, key);
