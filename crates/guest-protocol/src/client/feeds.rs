//! What the guest reports until told to stop, searches, and the host's own requests.

use super::{Answer, Call, Error, Request, Session};
use crate::frames::{
    Configure, Configured, FileEvents, FileMatches, FileWatch, ListProcesses, Metrics,
    MetricsWatch, Ping, Ports, PortsWatch, RepositoriesStatus, SearchFiles, SearchFinished,
    SearchText, Shutdown, processes, repositories,
};

/// Values of one kind that arrive until the feed is dropped.
#[derive(Debug)]
pub struct Feed<A> {
    call: Call,
    pick: fn(Answer) -> Option<A>,
}

impl<A> Feed<A> {
    /// The next value; `None` when the guest ended the feed.
    pub async fn next(&mut self) -> Result<Option<A>, Error> {
        loop {
            match self.call.next().await? {
                None => return Ok(None),
                Some(answer) => {
                    if let Some(value) = (self.pick)(answer) {
                        return Ok(Some(value));
                    }
                }
            }
        }
    }
}

impl Session {
    fn feed<A>(&self, request: Request, pick: fn(Answer) -> Option<A>) -> Result<Feed<A>, Error> {
        Ok(Feed {
            call: self.call(request)?,
            pick,
        })
    }

    /// Changes below a path. The first value, without events, says that the watch is armed.
    pub fn watch_files(&self, watch: FileWatch) -> Result<Feed<FileEvents>, Error> {
        self.feed(Request::FileWatch(watch), |answer| match answer {
            Answer::FileEvents(events) => Some(events),
            _ => None,
        })
    }

    /// Listening ports, at once and at every change.
    pub fn watch_ports(&self) -> Result<Feed<Ports>, Error> {
        self.feed(Request::PortsWatch(PortsWatch {}), |answer| match answer {
            Answer::Ports(ports) => Some(ports),
            _ => None,
        })
    }

    /// Figures of the guest, every `interval_ms` milliseconds (0: 2,000).
    pub fn watch_metrics(&self, interval_ms: u32) -> Result<Feed<Metrics>, Error> {
        self.feed(
            Request::MetricsWatch(MetricsWatch { interval_ms }),
            |answer| match answer {
                Answer::Metrics(metrics) => Some(metrics),
                _ => None,
            },
        )
    }

    /// Searches in files; `on_files` is handed matches as they come.
    pub async fn search_text(
        &self,
        search: SearchText,
        mut on_files: impl FnMut(Vec<FileMatches>),
    ) -> Result<SearchFinished, Error> {
        let mut call = self.call(Request::SearchText(search))?;
        loop {
            match call.next().await? {
                Some(Answer::SearchMatches(matches)) => on_files(matches.files),
                Some(Answer::SearchFinished(finished)) => {
                    call.finish();
                    return Ok(finished);
                }
                _ => return Err(Error::Unexpected("search")),
            }
        }
    }

    /// Searches file names; `on_paths` is handed paths as they come.
    pub async fn search_files(
        &self,
        search: SearchFiles,
        mut on_paths: impl FnMut(Vec<String>),
    ) -> Result<SearchFinished, Error> {
        let mut call = self.call(Request::SearchFiles(search))?;
        loop {
            match call.next().await? {
                Some(Answer::SearchPaths(found)) => on_paths(found.paths),
                Some(Answer::SearchFinished(finished)) => {
                    call.finish();
                    return Ok(finished);
                }
                _ => return Err(Error::Unexpected("search")),
            }
        }
    }

    /// Git repositories below the workspaces' folder, and what each has that is nowhere else.
    pub async fn repositories_status(&self) -> Result<Vec<repositories::Repository>, Error> {
        let request = Request::RepositoriesStatus(RepositoriesStatus {});
        self.ask(request, "repositories", |answer| match answer {
            Answer::Repositories(repositories) => Some(repositories.repositories),
            _ => None,
        })
        .await
    }

    pub async fn list_processes(&self) -> Result<Vec<processes::Process>, Error> {
        self.ask(
            Request::ListProcesses(ListProcesses {}),
            "processes",
            |answer| match answer {
                Answer::Processes(processes) => Some(processes.processes),
                _ => None,
            },
        )
        .await
    }

    /// One round trip to the agent.
    pub async fn ping(&self) -> Result<(), Error> {
        self.ask(Request::Ping(Ping {}), "ping", |answer| match answer {
            Answer::Pong(_) => Some(()),
            _ => None,
        })
        .await
    }

    /// Sets the guest up. Only for the host's own role.
    pub async fn configure(&self, configure: Configure) -> Result<Configured, Error> {
        self.ask(
            Request::Configure(configure),
            "configure",
            |answer| match answer {
                Answer::Configured(configured) => Some(configured),
                _ => None,
            },
        )
        .await
    }

    /// Stops the guest in order. The answer comes before it goes; then the connection ends. Only for the
    /// host's own role.
    pub async fn shutdown(&self, grace_ms: u32) -> Result<(), Error> {
        self.command(Request::Shutdown(Shutdown { grace_ms }), "shutdown")
            .await
    }
}
