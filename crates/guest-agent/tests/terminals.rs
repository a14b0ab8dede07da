//! Terminals: typing, size, several followers, coming back, falling behind.
#![allow(clippy::unwrap_used)]

mod world;

use guest_protocol::client::TerminalEvent;
use guest_protocol::frames::{
    Role, TerminalAttach, TerminalCreate, TerminalExited, TerminalSize, failure,
};
use world::{World, plain_terminal, soon, until, wait_for_text};

#[tokio::test]
async fn what_is_typed_is_echoed_and_run() {
    let world = World::start().await;
    let session = world.editor().await;
    let mut terminal = session.terminal_create(plain_terminal()).await.unwrap();
    let mut input = terminal.input();
    wait_for_text(&mut terminal, "$ ").await;
    input.write("echo a$((1+1))b\n").await.unwrap();
    wait_for_text(&mut terminal, "a2b").await;
    input.write("exit 5\n").await.unwrap();
    let exited = soon("the exit", async {
        loop {
            if let Some(TerminalEvent::Exited(exited)) = terminal.next().await.unwrap() {
                return exited;
            }
        }
    })
    .await;
    assert_eq!(
        exited,
        TerminalExited {
            code: 5,
            signaled: false
        }
    );
    assert!(session.terminal_list().await.unwrap().is_empty());
}

#[tokio::test]
async fn programs_see_the_size_and_its_changes() {
    let world = World::start().await;
    let session = world.editor().await;
    let mut terminal = session.terminal_create(plain_terminal()).await.unwrap();
    let name = terminal.state().terminal.clone();
    let mut input = terminal.input();
    input.write("stty size; tty\n").await.unwrap();
    wait_for_text(&mut terminal, "24 80").await;
    session.terminal_resize(&name, 132, 50).await.unwrap();
    input.write("stty size\n").await.unwrap();
    wait_for_text(&mut terminal, "50 132").await;
    let listed = until("the shell in the foreground", || async {
        let listed = session.terminal_list().await.unwrap();
        (listed[0].foreground == "sh").then_some(listed)
    })
    .await;
    assert_eq!(
        listed[0].size,
        Some(TerminalSize {
            columns: 132,
            rows: 50
        })
    );
    assert_eq!(listed[0].working_directory, session.welcome().workspace);
}

#[tokio::test]
async fn a_client_that_comes_back_gets_what_it_missed_and_nothing_twice() {
    let mut world = World::start().await;
    let session = world.editor().await;
    let mut terminal = session.terminal_create(plain_terminal()).await.unwrap();
    let name = terminal.state().terminal.clone();
    let mut input = terminal.input();
    let mut have = 0;
    input
        .write("echo be''fore; until [ -e go ]; do sleep 0.02; done; seq 1 2000; echo af''ter\n")
        .await
        .unwrap();
    let mut seen = Vec::new();
    while !String::from_utf8_lossy(&seen).contains("before") {
        if let Some(TerminalEvent::Output { offset, bytes }) = terminal.next().await.unwrap() {
            assert_eq!(offset, have);
            have += bytes.len() as u64;
            seen.extend_from_slice(&bytes);
        }
    }
    // The whole link goes, as when the monitor's other side is started again.
    world.reconnect().await;
    std::fs::write(world.path("go"), "").unwrap();
    let session = world.editor().await;
    let attach = TerminalAttach {
        terminal: name,
        have,
        ..TerminalAttach::default()
    };
    let mut terminal = session.terminal_attach(attach).await.unwrap();
    assert!(terminal.state().continued);
    assert_eq!(terminal.state().offset, have);
    while !String::from_utf8_lossy(&seen).contains("after") {
        match soon("the rest", terminal.next()).await.unwrap() {
            Some(TerminalEvent::Output { offset, bytes }) => {
                assert_eq!(offset, have);
                have += bytes.len() as u64;
                seen.extend_from_slice(&bytes);
            }
            other => panic!("{other:?}"),
        }
    }
    let numbers: String = (1..=2000).map(|number| format!("{number}\r\n")).collect();
    assert!(String::from_utf8_lossy(&seen).contains(&numbers));
}

#[tokio::test]
async fn a_new_client_gets_the_screen_even_of_a_full_screen_program() {
    let world = World::start().await;
    let session = world.editor().await;
    let mut terminal = session.terminal_create(plain_terminal()).await.unwrap();
    let name = terminal.state().terminal.clone();
    let mut input = terminal.input();
    // What vim and less do: another screen, a place on it, a line of text.
    input
        .write("printf '\\033[?1049h\\033[2J\\033[5;7Hfull\\055screen'\n")
        .await
        .unwrap();
    wait_for_text(&mut terminal, "full-screen").await;
    let attach = TerminalAttach {
        terminal: name,
        ..TerminalAttach::default()
    };
    let mut second = session.terminal_attach(attach).await.unwrap();
    assert!(!second.state().continued);
    let repaint = String::from_utf8_lossy(&second.state().repaint).into_owned();
    assert!(
        repaint.contains("full-screen") && repaint.contains("\x1b[?"),
        "{repaint:?}"
    );
    // Both follow from here on.
    input.write("echo bo''th\n").await.unwrap();
    wait_for_text(&mut terminal, "both").await;
    wait_for_text(&mut second, "both").await;
    assert_eq!(session.terminal_list().await.unwrap()[0].attached, 2);
}

#[tokio::test]
async fn a_client_that_does_not_read_holds_up_neither_the_program_nor_others() {
    let world = World::start().await;
    let session = world.editor().await;
    let mut stuck = session.terminal_create(plain_terminal()).await.unwrap();
    let name = stuck.state().terminal.clone();
    let mut input = stuck.input();
    let other = world.editor().await;
    let attach = TerminalAttach {
        terminal: name,
        ..TerminalAttach::default()
    };
    let mut reader = other.terminal_attach(attach).await.unwrap();
    input.write("seq 1 500000; echo en''d\n").await.unwrap();
    // The first client takes nothing meanwhile.
    wait_for_text(&mut reader, "end").await;
    // When it reads again, what was on its way comes first, and then the screen as it is now.
    soon("the screen", async {
        loop {
            match stuck.next().await.unwrap() {
                Some(TerminalEvent::Repaint(state)) => {
                    let repaint = String::from_utf8_lossy(&state.repaint).into_owned();
                    assert!(repaint.contains("500000") && repaint.contains("end"));
                    return;
                }
                Some(TerminalEvent::Output { .. }) => {}
                other => panic!("{other:?}"),
            }
        }
    })
    .await;
    input.write("echo go''es on\n").await.unwrap();
    wait_for_text(&mut stuck, "goes on").await;
}

#[tokio::test]
async fn a_terminal_without_a_client_runs_on_and_answers_programs() {
    let world = World::start().await;
    let session = world.editor().await;
    let script = "until [ -e go ]; do sleep 0.02; done; stty raw -echo; printf '\\033[6n'; \
        dd bs=1 count=6 of=answer 2>/dev/null; sleep 1000";
    let create = TerminalCreate {
        command: ["/bin/sh", "-c", script].map(String::from).to_vec(),
        ..plain_terminal()
    };
    let terminal = session.terminal_create(create).await.unwrap();
    let name = terminal.state().terminal.clone();
    drop((terminal, session));
    let session = world.editor().await;
    until("nobody attached", || async {
        let listed = session.terminal_list().await.unwrap();
        (listed[0].attached == 0).then_some(())
    })
    .await;
    std::fs::write(world.path("go"), "").unwrap();
    let answer = until("the answer", || async {
        std::fs::read(world.path("answer"))
            .ok()
            .filter(|answer| answer.len() == 6)
    })
    .await;
    assert_eq!(answer, b"\x1b[1;1R");
    session.terminal_close(&name).await.unwrap();
    assert!(session.terminal_list().await.unwrap().is_empty());
}

#[tokio::test]
async fn the_same_key_makes_one_terminal() {
    let world = World::start().await;
    let session = world.editor().await;
    let create = || TerminalCreate {
        key: "k".into(),
        ..plain_terminal()
    };
    let first = session.terminal_create(create()).await.unwrap();
    let second = session.terminal_create(create()).await.unwrap();
    assert_eq!(first.state().terminal, second.state().terminal);
    assert_eq!(session.terminal_list().await.unwrap().len(), 1);
}

#[tokio::test]
async fn a_viewer_watches_and_does_not_type() {
    let world = World::start().await;
    let editor = world.editor().await;
    let mut terminal = editor.terminal_create(plain_terminal()).await.unwrap();
    let name = terminal.state().terminal.clone();
    let viewer = world.session(Role::Viewer).await;
    let refused = viewer.terminal_create(plain_terminal()).await.unwrap_err();
    assert_eq!(refused.kind(), Some(failure::Kind::Refused));
    let attach = TerminalAttach {
        terminal: name,
        ..TerminalAttach::default()
    };
    let mut watched = viewer.terminal_attach(attach).await.unwrap();
    watched
        .input()
        .write("echo by the vie''wer\n")
        .await
        .unwrap();
    viewer.ping().await.unwrap();
    terminal
        .input()
        .write("echo by the edi''tor\n")
        .await
        .unwrap();
    let shown = wait_for_text(&mut watched, "by the editor").await;
    wait_for_text(&mut terminal, "by the editor").await;
    assert!(!shown.contains("vie"), "{shown}");
}

#[tokio::test]
async fn a_screen_beyond_the_size_of_a_frame_still_comes() {
    let world = World::start().await;
    let session = world.editor().await;
    let script = "import sys\nfor row in range(1500):\n \
        print(''.join(f'\\033[38;2;{row % 256};{column % 256};7mx' for column in range(200)))\n\
        print('\\033[0mend of it'); sys.stdout.flush(); sys.stdin.read()";
    let create = TerminalCreate {
        size: Some(TerminalSize {
            columns: 220,
            rows: 60,
        }),
        command: ["python3", "-c", script].map(String::from).to_vec(),
        ..plain_terminal()
    };
    let mut terminal = session.terminal_create(create).await.unwrap();
    let name = terminal.state().terminal.clone();
    wait_for_text(&mut terminal, "end of it").await;
    let attach = TerminalAttach {
        terminal: name,
        repaint: true,
        ..TerminalAttach::default()
    };
    let again = session.terminal_attach(attach).await.unwrap();
    let repaint = &again.state().repaint;
    assert!(repaint.len() > 100_000 && String::from_utf8_lossy(repaint).contains("end of it"));
}
