//! What is known of the VM, and the phase that follows from it. Pure: told everything, does nothing.

use disk_server::protocol::Trouble;
use microvm::driver::PauseReason;
use monitor_protocol::messages::vm_status::Phase;
use monitor_protocol::messages::{Step, VmStatus};

use crate::folder::ExitRecord;

/// Facts about one run.
#[derive(Debug, Default)]
pub struct State {
    pub vmm_process: u32,
    /// The agent has answered once.
    pub was_ready: bool,
    /// It has not for too long.
    pub silent: bool,
    pub paused: Option<PauseReason>,
    /// The guest waits for its disk.
    pub disk: Option<Trouble>,
    /// Asked to stop.
    pub stopping: bool,
    pub exit: Option<ExitRecord>,
    pub steps: Vec<Step>,
}

impl State {
    /// The end outweighs everything, then what was asked for, then what was seen.
    pub fn phase(&self) -> Phase {
        if self.exit.is_some() {
            Phase::Exited
        } else if self.stopping {
            Phase::Stopping
        } else if self.paused.is_some() || self.disk.is_some() {
            Phase::Paused
        } else if !self.was_ready {
            Phase::Starting
        } else if self.silent {
            Phase::Unresponsive
        } else {
            Phase::Ready
        }
    }

    fn detail(&self) -> String {
        match (self.phase(), &self.paused, &self.exit) {
            (Phase::Exited, _, Some(exit)) => exit.cause.clone(),
            (Phase::Paused, paused, _) => match (&self.disk, paused) {
                // What the VMM heard is only an error's number.
                (Some(trouble), _) => disk_detail(trouble),
                (None, Some(reason)) => pause_detail(reason),
                (None, None) => String::new(),
            },
            (Phase::Unresponsive, ..) => "the agent in the guest does not answer".to_owned(),
            _ => String::new(),
        }
    }

    pub fn status(&self) -> VmStatus {
        VmStatus {
            phase: self.phase().into(),
            detail: self.detail(),
            orderly: self.exit.as_ref().is_some_and(|exit| exit.orderly),
            vmm_process: self.vmm_process,
            monitor_process: std::process::id(),
            steps: self.steps.clone(),
            monitor_version: env!("CARGO_PKG_VERSION").to_owned(),
        }
    }

    /// Notes that a step is done. Steps follow one another from the monitor's start.
    pub fn step(&mut self, name: &str, now_ms: u64) {
        let at_ms = self
            .steps
            .last()
            .map_or(0, |last| last.at_ms + last.took_ms);
        let took_ms = now_ms.saturating_sub(at_ms);
        self.steps.push(Step {
            name: name.to_owned(),
            at_ms,
            took_ms,
        });
    }
}

fn disk_detail(trouble: &Trouble) -> String {
    if trouble.full {
        pause_detail(&PauseReason::DiskFull)
    } else {
        pause_detail(&PauseReason::DiskFailed(trouble.reason.clone()))
    }
}

fn pause_detail(reason: &PauseReason) -> String {
    match reason {
        PauseReason::Asked => "paused on request".to_owned(),
        PauseReason::DiskFull => {
            "the host's disk is full: the machine stands still and goes on by itself when there is room".to_owned()
        }
        PauseReason::DiskFailed(reason) => {
            format!("the host's disk fails ({reason}): the machine stands still and tries again every few seconds")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every combination of facts, so that no phase is reached by accident.
    #[test]
    fn the_phase_follows_from_the_facts_in_order_of_weight() {
        for bits in 0..64u32 {
            let bit = |number: u32| bits & (1 << number) != 0;
            let state = State {
                was_ready: bit(0),
                silent: bit(1),
                paused: bit(2).then_some(PauseReason::Asked),
                stopping: bit(4),
                exit: bit(5).then(ExitRecord::default),
                disk: bit(3).then(|| Trouble {
                    reason: String::new(),
                    full: true,
                }),
                ..State::default()
            };
            let expected = match bits {
                32.. => Phase::Exited,
                16.. => Phase::Stopping,
                4.. => Phase::Paused,
                3 => Phase::Unresponsive,
                1 => Phase::Ready,
                _ => Phase::Starting,
            };
            assert_eq!(state.phase(), expected, "{state:?}");
        }
    }

    #[test]
    fn steps_follow_one_another() {
        let mut state = State::default();
        state.step("prepare", 12);
        state.step("vmm", 80);
        let spans: Vec<_> = state
            .steps
            .iter()
            .map(|step| (step.at_ms, step.took_ms))
            .collect();
        assert_eq!(spans, [(0, 12), (12, 68)]);
    }
}
