//! Who may ask for what.

use guest_protocol::frames::Role;

use super::Request;

/// Whether a role covers a request.
pub fn allows(role: Role, request: &Request) -> bool {
    match request {
        Request::Configure(_) | Request::Shutdown(_) => role == Role::Host,
        Request::ExecStart(start) if start.root => role == Role::Host,
        Request::FileWrite(_)
        | Request::FileMakeDirectory(_)
        | Request::FileRename(_)
        | Request::FileCopy(_)
        | Request::FileRemove(_)
        | Request::FileExtract(_)
        | Request::FileLink(_)
        | Request::TerminalCreate(_)
        | Request::TerminalResize(_)
        | Request::TerminalClose(_)
        | Request::ExecStart(_)
        | Request::ExecSignal(_)
        // These run git, which runs what the repository's configuration says.
        | Request::RepositoriesStatus(_)
        | Request::WipSave(_)
        | Request::WipList(_)
        | Request::WipRestore(_)
        | Request::WipBundle(_)
        | Request::WipUnbundle(_) => matches!(role, Role::Editor | Role::Host),
        Request::Hello(_)
        | Request::Cancel(_)
        | Request::Credit(_)
        | Request::Data(_)
        | Request::Ping(_)
        | Request::FileStat(_)
        | Request::FileList(_)
        | Request::FileRead(_)
        | Request::FileWatch(_)
        | Request::FileArchive(_)
        | Request::SearchText(_)
        | Request::SearchFiles(_)
        | Request::TerminalAttach(_)
        | Request::TerminalList(_)
        | Request::ExecAttach(_)
        | Request::ExecList(_)
        | Request::PortsWatch(_)
        | Request::MetricsWatch(_)
        | Request::ListProcesses(_) => true,
    }
}

/// Whether what a role sends to a terminal or program is passed on.
pub fn may_type(role: Role) -> bool {
    matches!(role, Role::Editor | Role::Host)
}
