//! Clock, ids and randomness, as arguments.

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use ring::rand::SecureRandom;

type Fill = Arc<dyn Fn(&mut [u8]) + Send + Sync>;

/// What the service does not make up by itself.
#[derive(Clone)]
pub struct World {
    now_ms: Arc<dyn Fn() -> u64 + Send + Sync>,
    id: Arc<dyn Fn() -> String + Send + Sync>,
    fill: Fill,
}

impl World {
    /// The real clock, UUIDv7 and the kernel's randomness.
    pub fn real() -> Self {
        Self {
            now_ms: Arc::new(|| {
                let since = SystemTime::now()
                    .duration_since(UNIX_EPOCH)
                    .unwrap_or_default();
                u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
            }),
            id: Arc::new(|| uuid::Uuid::now_v7().to_string()),
            fill: Arc::new(|bytes| {
                ring::rand::SystemRandom::new()
                    .fill(bytes)
                    .expect("the kernel's random source does not fail once it is seeded");
            }),
        }
    }

    /// With another clock, in milliseconds since 1970.
    pub fn with_clock(self, now_ms: impl Fn() -> u64 + Send + Sync + 'static) -> Self {
        Self {
            now_ms: Arc::new(now_ms),
            ..self
        }
    }

    pub fn now_ms(&self) -> u64 {
        (self.now_ms)()
    }

    pub fn id(&self) -> String {
        (self.id)()
    }

    pub fn random<const LENGTH: usize>(&self) -> [u8; LENGTH] {
        let mut bytes = [0; LENGTH];
        (self.fill)(&mut bytes);
        bytes
    }
}
