//! The hosts that are attached now.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};

use fleet_api::host::Host;

/// By id.
#[derive(Default)]
pub struct Hosts(RwLock<BTreeMap<String, Arc<dyn Host>>>);

impl Hosts {
    pub fn attach(&self, id: String, host: Arc<dyn Host>) {
        self.0
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(id, host);
    }

    /// None: it is not attached, so nothing is known of what it has.
    pub fn get(&self, id: &str) -> Option<Arc<dyn Host>> {
        self.0
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .get(id)
            .cloned()
    }

    pub fn all(&self) -> Vec<(String, Arc<dyn Host>)> {
        let hosts = self.0.read().unwrap_or_else(PoisonError::into_inner);
        hosts
            .iter()
            .map(|(id, host)| (id.clone(), host.clone()))
            .collect()
    }
}
