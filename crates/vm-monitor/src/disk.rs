//! The disk in the words of the contract.

use disk_server::Status;
use monitor_protocol::messages::{self, DiskStatus};
use serde_json::json;
use storage::disk::size_in_blocks;
use storage::manifest;

pub fn point(point: &messages::Point) -> Result<manifest::Point, String> {
    let described = json!({
        "id": point.id, "name": point.name, "kind": point.kind, "taken_ms": point.taken_ms,
    });
    serde_json::from_value(described).map_err(|error| format!("no point in time: {error}"))
}

pub fn blocks(bytes: u64) -> Result<u32, String> {
    size_in_blocks(bytes).map_err(|error| error.to_string())
}

pub fn status(status: &Status) -> DiskStatus {
    let figures = &status.figures;
    let trouble = status.troubles.store.as_ref();
    DiskStatus {
        size: figures.size,
        local: figures.log,
        unsent: figures.unsent,
        unsent_age_ms: status.unsent_age().as_millis() as u64,
        version: status.version,
        lost_blocks: figures.lost,
        takeovers: status.takeovers,
        server_process: status.process,
        store_trouble: trouble.map_or_else(String::new, |trouble| trouble.reason.clone()),
    }
}
