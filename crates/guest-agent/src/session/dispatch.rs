//! Which part of the agent serves which request.

use super::{Call, CallError, Outcome, Request};
use crate::machine::Machine;
use crate::{exec, figures, files, git, ports, search, setup, terminals};

/// Whether answers go before other answers of the session: what people feel, and what is small.
pub fn is_urgent(request: &Request) -> bool {
    matches!(
        request,
        Request::TerminalCreate(_)
            | Request::TerminalAttach(_)
            | Request::TerminalResize(_)
            | Request::TerminalClose(_)
            | Request::TerminalList(_)
            | Request::FileStat(_)
            | Request::PortsWatch(_)
    )
}

/// Serves a call to its end.
pub async fn run(machine: &'static Machine, call: Call, request: Request) -> Outcome {
    match request {
        Request::FileStat(request) => files::stat(machine, call, request).await,
        Request::FileList(request) => files::list(machine, call, request).await,
        Request::FileRead(request) => files::read(machine, call, request).await,
        Request::FileWrite(request) => files::write(machine, call, request).await,
        Request::FileMakeDirectory(request) => files::make_directory(machine, call, request).await,
        Request::FileRename(request) => files::rename(machine, call, request).await,
        Request::FileCopy(request) => files::copy(machine, call, request).await,
        Request::FileRemove(request) => files::remove(machine, call, request).await,
        Request::FileWatch(request) => files::watch::serve(machine, call, request).await,
        Request::FileArchive(request) => files::archive(machine, call, request).await,
        Request::FileExtract(request) => files::extract(machine, call, request).await,
        Request::FileLink(request) => files::link(machine, call, request).await,
        Request::SearchText(request) => search::text::serve(machine, call, request).await,
        Request::SearchFiles(request) => search::files::serve(machine, call, request).await,
        Request::TerminalCreate(request) => terminals::create(machine, call, request).await,
        Request::TerminalAttach(request) => terminals::attach(machine, call, request).await,
        Request::TerminalResize(request) => terminals::resize(machine, call, request).await,
        Request::TerminalClose(request) => terminals::close(machine, call, request).await,
        Request::TerminalList(_) => terminals::list(machine, call).await,
        Request::ExecStart(request) => exec::start(machine, call, request).await,
        Request::ExecAttach(request) => exec::attach(machine, call, request).await,
        Request::ExecSignal(request) => exec::signal(machine, call, request).await,
        Request::ExecList(_) => exec::list(machine, call).await,
        Request::PortsWatch(_) => ports::watch(machine, call).await,
        Request::MetricsWatch(request) => figures::watch(machine, call, request).await,
        Request::RepositoriesStatus(_) => git::repositories::serve(machine, call).await,
        Request::WipSave(request) => git::wip::save(machine, call, request).await,
        Request::WipList(request) => git::wip::list(machine, call, request).await,
        Request::WipRestore(request) => git::wip::restore(machine, call, request).await,
        Request::WipBundle(request) => git::wip::bundle(machine, call, request).await,
        Request::WipUnbundle(request) => git::wip::unbundle(machine, call, request).await,
        Request::ListProcesses(_) => figures::processes(call).await,
        Request::Configure(request) => setup::configure(machine, call, request).await,
        Request::Shutdown(request) => setup::shut_down(machine, call, request).await,
        // The session deals with these itself.
        Request::Hello(_)
        | Request::Cancel(_)
        | Request::Credit(_)
        | Request::Data(_)
        | Request::Ping(_) => Err(CallError::broken()),
    }
}
