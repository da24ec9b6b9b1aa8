//! How much of the network one attempt may use: HTTP, objects and statements by connections, all of them together.

use std::time::Duration;

/// The most that one attempt may have. Each is a setting.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TrafficCaps {
    /// HTTP exchanges at a time, from the request to the last byte of the response that is read: 1 to [`MAX_AT_A_TIME`].
    pub at_a_time: u32,
    /// HTTP requests, operations on objects, statements, connections to databases.
    pub requests: u64,
    /// Without what TLS and HTTP add.
    pub sent_bytes: u64,
    /// Without what TLS and HTTP add; counted when the task reads it.
    pub received_bytes: u64,
    /// What its calls take together; of those at a time each counts.
    pub time: Duration,
}

/// HTTP exchanges of an attempt at a time, whatever is set.
pub const MAX_AT_A_TIME: u32 = 64;

impl Default for TrafficCaps {
    fn default() -> Self {
        Self {
            at_a_time: MAX_AT_A_TIME,
            requests: 1_000_000,
            sent_bytes: 64 << 30,
            received_bytes: 64 << 30,
            time: Duration::from_hours(24),
        }
    }
}

/// What an attempt has used so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Traffic {
    requests: u64,
    sent_bytes: u64,
    received_bytes: u64,
    time: Duration,
}

/// A cap that is reached. The next use is refused; what went before stays.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TrafficError {
    #[error("the attempt has made {0} requests to the network, which is all it may (setting `egress.max_requests`)")]
    Requests(u64),
    #[error(
        "the attempt would send more than {0} bytes to the network, which is all it may (setting `egress.max_sent_bytes`)"
    )]
    SentBytes(u64),
    #[error(
        "the attempt has read more than {0} bytes from the network, which is all it may (setting `egress.max_received_bytes`)"
    )]
    ReceivedBytes(u64),
    #[error("the attempt has spent {} seconds with the network, which is all it may (setting `egress.max_seconds`)", .0.as_secs())]
    Time(Duration),
}

impl Traffic {
    /// Counts a call that begins, of so many bytes that are sent; how long it may take at most.
    ///
    /// # Errors
    /// If a cap is reached; then it must not be made.
    pub fn begin(&mut self, caps: &TrafficCaps, is_request: bool, sent_bytes: u64) -> Result<Duration, TrafficError> {
        let left = caps.time.checked_sub(self.time).filter(|left| !left.is_zero());
        let left = left.ok_or(TrafficError::Time(caps.time))?;
        if self.received_bytes > caps.received_bytes {
            return Err(TrafficError::ReceivedBytes(caps.received_bytes));
        }
        let requests = self.requests + u64::from(is_request);
        if requests > caps.requests {
            return Err(TrafficError::Requests(caps.requests));
        }
        let sent_bytes = self.sent_bytes.saturating_add(sent_bytes);
        if sent_bytes > caps.sent_bytes {
            return Err(TrafficError::SentBytes(caps.sent_bytes));
        }
        (self.requests, self.sent_bytes) = (requests, sent_bytes);
        Ok(left)
    }

    /// Counts what the call took.
    ///
    /// # Errors
    /// If a cap is reached; then nobody may have what was received.
    pub fn end(&mut self, caps: &TrafficCaps, took: Duration, received_bytes: u64) -> Result<(), TrafficError> {
        self.time = self.time.saturating_add(took);
        self.received_bytes = self.received_bytes.saturating_add(received_bytes);
        if self.received_bytes > caps.received_bytes {
            return Err(TrafficError::ReceivedBytes(caps.received_bytes));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CAPS: TrafficCaps =
        TrafficCaps { at_a_time: 1, requests: 3, sent_bytes: 10, received_bytes: 20, time: Duration::from_secs(5) };

    #[test]
    fn each_cap_is_its_own_and_holds_to_the_byte() {
        let second = Duration::from_secs(1);
        let mut traffic = Traffic::default();
        assert_eq!(traffic.begin(&CAPS, true, 4), Ok(CAPS.time));
        assert_eq!(traffic.end(&CAPS, second, 15), Ok(()));
        assert_eq!(traffic.begin(&CAPS, true, 7), Err(TrafficError::SentBytes(10)));
        // What was refused is not counted.
        assert_eq!(traffic.begin(&CAPS, true, 6), Ok(4 * second));
        assert_eq!(traffic.begin(&CAPS, true, 0), Ok(4 * second));
        assert_eq!(traffic.begin(&CAPS, true, 0), Err(TrafficError::Requests(3)));
        // More of a response is no request.
        assert_eq!(traffic.begin(&CAPS, false, 0), Ok(4 * second));
        assert_eq!(traffic.end(&CAPS, 3 * second, 5), Ok(()));
        assert_eq!(traffic.begin(&CAPS, false, 0), Ok(second));
        assert_eq!(traffic.end(&CAPS, second, 0), Ok(()));
        assert_eq!(traffic.begin(&CAPS, false, 0), Err(TrafficError::Time(CAPS.time)));
    }

    #[test]
    fn nothing_is_read_beyond_the_cap() {
        let mut traffic = Traffic::default();
        assert_eq!(traffic.end(&CAPS, Duration::ZERO, 21), Err(TrafficError::ReceivedBytes(20)));
        assert_eq!(traffic.begin(&CAPS, false, 0), Err(TrafficError::ReceivedBytes(20)));
        assert_eq!(traffic.end(&CAPS, Duration::MAX, u64::MAX), Err(TrafficError::ReceivedBytes(20)));
    }

    #[test]
    fn errors_name_the_setting() {
        for (error, setting) in [
            (TrafficError::Requests(3), "egress.max_requests"),
            (TrafficError::SentBytes(10), "egress.max_sent_bytes"),
            (TrafficError::ReceivedBytes(20), "egress.max_received_bytes"),
            (
                TrafficError::Time(Duration::from_secs(5)),
                "5 seconds with the network, which is all it may (setting `egress.max_seconds`",
            ),
        ] {
            assert!(error.to_string().contains(setting), "{error}");
        }
    }
}
