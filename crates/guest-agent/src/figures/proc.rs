//! `/proc`, as far as the agent reads it.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::time::Duration;

/// Clock ticks per second in `/proc`; Linux has not had another value for userspace since 2.6.
const TICKS: f64 = 100.0;

/// A process that is not the kernel's own.
#[derive(Clone, Debug, PartialEq)]
pub struct Process {
    pub pid: i32,
    pub parent: i32,
    pub uid: u32,
    /// Resident, bytes.
    pub memory: u64,
    pub cpu_seconds: f64,
    /// Short, as the kernel keeps it.
    pub name: String,
}

impl Process {
    /// The command line, or the name in brackets.
    pub fn command(&self) -> String {
        let line = fs::read(format!("/proc/{}/cmdline", self.pid)).unwrap_or_default();
        let words: Vec<_> = line
            .split(|byte| *byte == 0)
            .map(String::from_utf8_lossy)
            .collect();
        let line = words.join(" ").trim_end().to_owned();
        if line.is_empty() {
            format!("[{}]", self.name)
        } else {
            line
        }
    }

    fn read(pid: i32) -> Option<Self> {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        let uid = fs::metadata(format!("/proc/{pid}")).ok()?.uid();
        parse_stat(&stat, pid, uid)
    }
}

fn parse_stat(stat: &str, pid: i32, uid: u32) -> Option<Process> {
    // The name is in parentheses and may hold anything, parentheses too.
    let (open, close) = (stat.find('(')?, stat.rfind(')')?);
    let name = stat.get(open + 1..close)?.to_owned();
    let fields: Vec<&str> = stat.get(close + 1..)?.split_ascii_whitespace().collect();
    let number = |index: usize| fields.get(index)?.parse::<u64>().ok();
    let parent = number(1)? as i32;
    if pid == 2 || parent == 2 {
        return None;
    }
    Some(Process {
        pid,
        parent,
        uid,
        memory: number(21)? * rustix::param::page_size() as u64,
        cpu_seconds: (number(11)? + number(12)?) as f64 / TICKS,
        name,
    })
}

pub fn pids() -> impl Iterator<Item = i32> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok())
}

/// All but the kernel's own threads.
pub fn processes() -> impl Iterator<Item = Process> {
    pids().filter_map(Process::read)
}

/// What descends from this process: in a VM, everything.
pub fn descendants() -> Vec<Process> {
    let own = std::process::id() as i32;
    let all: HashMap<i32, Process> = processes().map(|process| (process.pid, process)).collect();
    let mut found: Vec<Process> = all
        .values()
        .filter(|process| {
            let mut seen = HashSet::new();
            let mut at = process.parent;
            while at != own && seen.insert(at) {
                at = all.get(&at).map_or(0, |parent| parent.parent);
            }
            at == own && process.pid != own
        })
        .cloned()
        .collect();
    found.sort_by_key(|process| process.pid);
    found
}

/// Time that all CPUs together have been busy.
#[derive(Clone, Copy, Debug)]
pub struct Busy {
    ticks: f64,
    at: std::time::Instant,
}

impl Busy {
    pub fn now() -> Self {
        let stat = fs::read_to_string("/proc/stat").unwrap_or_default();
        Self {
            ticks: busy_ticks(&stat),
            at: std::time::Instant::now(),
        }
    }

    /// How many were busy on average.
    pub fn cores_since(&self, before: &Self) -> f64 {
        let seconds = self.at.duration_since(before.at).as_secs_f64();
        if seconds <= 0.0 {
            0.0
        } else {
            (self.ticks - before.ticks).max(0.0) / TICKS / seconds
        }
    }
}

/// user, nice, system, irq, softirq, steal: everything but idle and waiting.
fn busy_ticks(stat: &str) -> f64 {
    let line = stat.lines().next().unwrap_or_default();
    let ticks: Vec<f64> = line
        .split_ascii_whitespace()
        .skip(1)
        .filter_map(|field| field.parse().ok())
        .collect();
    [0, 1, 2, 5, 6, 7]
        .iter()
        .filter_map(|index| ticks.get(*index))
        .sum()
}

/// Bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Memory {
    pub total: u64,
    /// Without caches that can be dropped.
    pub available: u64,
}

impl Memory {
    pub fn now() -> Self {
        Self::parse(&fs::read_to_string("/proc/meminfo").unwrap_or_default())
    }

    fn parse(text: &str) -> Self {
        let value = |name: &str| {
            let line = text.lines().find(|line| line.starts_with(name))?;
            line.split_ascii_whitespace().nth(1)?.parse::<u64>().ok()
        };
        let bytes = |name| value(name).unwrap_or(0) * 1024;
        Self {
            total: bytes("MemTotal:"),
            available: bytes("MemAvailable:"),
        }
    }
}

/// One-minute load average.
pub fn load() -> f64 {
    let text = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split_ascii_whitespace()
        .next()
        .and_then(|field| field.parse().ok())
        .unwrap_or(0.0)
}

pub fn uptime() -> Duration {
    let text = fs::read_to_string("/proc/uptime").unwrap_or_default();
    let seconds = text
        .split_ascii_whitespace()
        .next()
        .and_then(|field| field.parse().ok());
    Duration::from_secs_f64(seconds.unwrap_or(0.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_with_parentheses_are_read() {
        let line =
            "77 (a) b (c)) S 5 77 77 0 -1 4194304 100 0 0 0 150 50 0 0 20 0 1 0 900 1000 25 0";
        let process = parse_stat(line, 77, 1000).unwrap();
        assert_eq!(process.name, "a) b (c)");
        assert_eq!((process.parent, process.cpu_seconds), (5, 2.0));
        assert_eq!(process.memory, 25 * rustix::param::page_size() as u64);
        assert!(parse_stat("3 (kworker) I 2 0 0", 3, 0).is_none());
    }

    #[test]
    fn memory_and_cpu_are_read() {
        let text = "MemTotal:  1000 kB\nMemFree: 1 kB\nMemAvailable:   400 kB\n";
        assert_eq!(
            Memory::parse(text),
            Memory {
                total: 1_024_000,
                available: 409_600
            }
        );
        assert_eq!(busy_ticks("cpu  10 1 5 1000 50 2 3 4 0 0\ncpu0 1"), 25.0);
    }

    #[test]
    fn a_child_is_a_descendant() {
        let mut child = std::process::Command::new("sleep")
            .arg("60")
            .spawn()
            .unwrap();
        let found = descendants()
            .iter()
            .any(|process| process.pid == child.id() as i32);
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(found);
    }
}
