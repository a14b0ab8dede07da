//! Programs: streams apart, exit, signals, input, lingering and coming back.
#![allow(clippy::unwrap_used)]

mod world;

use std::os::unix::fs::PermissionsExt;

use guest_protocol::client::{Error, ExecEvent};
use guest_protocol::frames::{ExecAttach, ExecExited, ExecStart, Role, failure};
use world::{World, command, output, shell, soon, until};

#[tokio::test]
async fn streams_are_apart_and_the_exit_code_comes_last() {
    let world = World::start().await;
    let session = world.editor().await;
    let result = output(&session, "echo out; echo err >&2; exit 7").await;
    assert_eq!(result.stdout, b"out\n");
    assert_eq!(result.stderr, b"err\n");
    assert_eq!(
        result.exited,
        ExecExited {
            code: 7,
            signaled: false
        }
    );
}

#[tokio::test]
async fn a_program_runs_in_the_workspace_with_the_environment_asked_for() {
    let world = World::start().await;
    let session = world.editor().await;
    let start = ExecStart {
        environment: [("WHAT".to_owned(), "a b".to_owned())].into(),
        ..shell("pwd; echo \"$WHAT\"; echo $HOME")
    };
    let result = session.exec_output(start).await.unwrap();
    let text = String::from_utf8(result.stdout).unwrap();
    assert_eq!(
        text,
        format!(
            "{}\na b\n{}\n",
            session.welcome().workspace,
            session.welcome().home
        )
    );
}

#[tokio::test]
async fn a_signal_ends_a_program_and_its_children() {
    let world = World::start().await;
    let session = world.editor().await;
    let mut exec = session
        .exec(shell("sleep 1000 & echo started; wait"))
        .await
        .unwrap();
    let started = exec.started().clone();
    assert!(matches!(
        exec.next().await.unwrap(),
        Some(ExecEvent::Stdout { .. })
    ));
    session.exec_signal(&started.exec, 15).await.unwrap();
    let exited = soon("the exit", async {
        loop {
            if let Some(ExecEvent::Exited(exited)) = exec.next().await.unwrap() {
                return exited;
            }
        }
    })
    .await;
    assert_eq!(
        exited,
        ExecExited {
            code: 15,
            signaled: true
        }
    );
    let group = started.process.to_string();
    until("the child's end", || async {
        let left = output(&session, &format!("pgrep -g {group} || true")).await;
        left.stdout.is_empty().then_some(())
    })
    .await;
}

#[tokio::test]
async fn input_reaches_the_program_up_to_its_end() {
    let world = World::start().await;
    let session = world.editor().await;
    let start = ExecStart {
        stdin: true,
        ..command(&["wc", "-c"])
    };
    let mut exec = session.exec(start).await.unwrap();
    let mut stdin = exec.stdin();
    let size = 3_000_000;
    let writing = async move {
        stdin.write(vec![b'x'; size]).await.unwrap();
        stdin.end().await.unwrap();
        stdin
    };
    let reading = async {
        let mut text = Vec::new();
        while let Some(event) = exec.next().await.unwrap() {
            if let ExecEvent::Stdout { bytes, .. } = event {
                text.extend_from_slice(&bytes);
            }
        }
        String::from_utf8(text).unwrap()
    };
    let (_stdin, text) = soon("the count", async { tokio::join!(writing, reading) }).await;
    assert_eq!(text.trim(), size.to_string());
}

#[tokio::test]
async fn much_output_arrives_whole_and_nobody_else_waits_for_it() {
    let world = World::start().await;
    let session = world.editor().await;
    let mut stuck = session.exec(shell("yes")).await.unwrap();
    assert!(stuck.next().await.unwrap().is_some());
    let result = output(&session, "head -c 20000000 /dev/zero").await;
    assert_eq!(result.stdout.len(), 20_000_000);
    assert!(stuck.next().await.unwrap().is_some());
}

#[tokio::test]
async fn after_a_lost_session_the_output_goes_on_where_it_stopped() {
    let world = World::start().await;
    let session = world.editor().await;
    let count = "i=0; while [ $i -lt 200000 ]; do echo $i; i=$((i+1)); done; echo done >&2; exit 3";
    let mut exec = session.exec(shell(count)).await.unwrap();
    let name = exec.started().exec.clone();
    let mut text = Vec::new();
    while text.len() < 300_000 {
        if let Some(ExecEvent::Stdout { bytes, .. }) = exec.next().await.unwrap() {
            text.extend_from_slice(&bytes);
        }
    }
    drop((exec, session));
    let session = world.editor().await;
    let attach = ExecAttach {
        exec: name,
        stdout_offset: text.len() as u64,
        ..ExecAttach::default()
    };
    let mut exec = session.exec_attach(attach).await.unwrap();
    assert_eq!(exec.started().stdout_offset, text.len() as u64);
    let mut exited = None;
    while let Some(event) = soon("the rest", exec.next()).await.unwrap() {
        match event {
            ExecEvent::Stdout { offset, bytes } => {
                assert_eq!(offset, text.len() as u64);
                text.extend_from_slice(&bytes);
            }
            ExecEvent::Stderr { bytes, .. } => assert_eq!(&bytes[..], b"done\n"),
            ExecEvent::Exited(exit) => exited = Some(exit),
        }
    }
    let expected: String = (0..200_000).map(|number| format!("{number}\n")).collect();
    assert!(text == expected.as_bytes());
    assert_eq!(
        exited,
        Some(ExecExited {
            code: 3,
            signaled: false
        })
    );
}

#[tokio::test]
async fn the_same_key_starts_one_program() {
    let world = World::start().await;
    let session = world.editor().await;
    let start = || ExecStart {
        key: "once".into(),
        ..shell("echo x >> counted; cat counted")
    };
    let first = session.exec_output(start()).await.unwrap();
    let second = session.exec_output(start()).await.unwrap();
    assert_eq!(
        (first.stdout, second.stdout),
        (b"x\n".to_vec(), b"x\n".to_vec())
    );
}

#[tokio::test]
async fn a_program_that_nobody_comes_back_to_is_ended() {
    let world = World::start().await;
    let session = world.editor().await;
    let start = ExecStart {
        linger_seconds: 1,
        ..shell("trap '' HUP; sleep 1000")
    };
    let exec = session.exec(start).await.unwrap();
    let name = exec.started().exec.clone();
    assert!(
        session
            .exec_list()
            .await
            .unwrap()
            .iter()
            .any(|exec| exec.exec == name && exec.running)
    );
    drop(exec);
    until("its end", || async {
        let list = session.exec_list().await.unwrap();
        (!list.iter().any(|exec| exec.exec == name)).then_some(())
    })
    .await;
}

#[tokio::test]
async fn what_a_program_leaves_behind_does_not_keep_its_caller() {
    let world = World::start().await;
    let session = world.editor().await;
    let result = output(&session, "sleep 1000 & echo left").await;
    assert_eq!(result.stdout, b"left\n");
    assert!(result.success());
}

#[tokio::test]
async fn what_cannot_be_started_says_why() {
    let world = World::start().await;
    let session = world.editor().await;
    let kind = |result: Result<_, Error>| result.map(drop).unwrap_err().kind();
    let missing = session.exec_output(command(&["no-such-program"])).await;
    assert_eq!(kind(missing), Some(failure::Kind::NotFound));
    assert_eq!(
        kind(session.exec_output(command(&[])).await),
        Some(failure::Kind::Invalid)
    );
    let nowhere = ExecStart {
        working_directory: "/no/such/folder".into(),
        ..shell("true")
    };
    let nowhere = session.exec_output(nowhere).await.unwrap_err();
    assert_eq!(nowhere.kind(), Some(failure::Kind::Invalid));
    assert!(nowhere.to_string().contains("/no/such/folder"), "{nowhere}");
    std::fs::write(world.path("data"), "no program").unwrap();
    std::fs::set_permissions(world.path("data"), PermissionsExt::from_mode(0o644)).unwrap();
    assert_eq!(
        kind(session.exec_output(command(&[&world.text("data")])).await),
        Some(failure::Kind::Permission)
    );
    let root = ExecStart {
        root: true,
        ..shell("true")
    };
    assert_eq!(
        kind(session.exec_output(root.clone()).await),
        Some(failure::Kind::Refused)
    );
    let host = world.session(Role::Host).await;
    assert!(host.exec_output(root).await.unwrap().success());
}
