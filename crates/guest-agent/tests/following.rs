//! What is followed: changes of files, listening ports, figures. And searches.
#![allow(clippy::unwrap_used)]

mod world;

use std::collections::BTreeMap;

use guest_protocol::client::{Feed, Session};
use guest_protocol::frames::{
    FileEvents, FileWatch, SearchFiles, SearchText, Span, file_event::Kind,
};
use world::{World, output, shell, soon, until};

fn watch_request(world: &World) -> FileWatch {
    FileWatch {
        path: world.text(""),
        recursive: true,
        excludes: vec!["**/node_modules/**".into()],
        ..FileWatch::default()
    }
}

async fn armed(session: &Session, request: FileWatch) -> (Feed<FileEvents>, FileEvents) {
    let mut feed = session.watch_files(request).unwrap();
    let first = soon("the watch", feed.next()).await.unwrap().unwrap();
    assert!(first.events.is_empty());
    (feed, first)
}

/// Follows until `done`; gives the last kind of each path, below the folder of workspaces.
async fn changes(
    world: &World,
    feed: &mut Feed<FileEvents>,
    done: impl Fn(&BTreeMap<String, Kind>) -> bool,
) -> (BTreeMap<String, Kind>, FileEvents) {
    let root = format!("{}/", world.path("").display()).replace("//", "/");
    let mut seen = BTreeMap::new();
    soon("the changes", async {
        loop {
            let events = feed.next().await.unwrap().unwrap();
            for event in &events.events {
                seen.insert(event.path.replace(&root, ""), event.kind());
            }
            if done(&seen) {
                return (seen, events);
            }
        }
    })
    .await
}

#[tokio::test]
async fn changes_are_told_also_in_new_folders() {
    let world = World::start().await;
    let session = world.editor().await;
    std::fs::write(world.path("there"), "").unwrap();
    std::fs::create_dir(world.path("node_modules")).unwrap();
    let (mut feed, _) = armed(&session, watch_request(&world)).await;
    output(
        &session,
        "echo x >> there; mkdir -p new/deep; echo y > new/deep/file; touch node_modules/hidden; touch last",
    )
    .await;
    let (seen, _) = changes(&world, &mut feed, |seen| {
        seen.contains_key("last") && seen.contains_key("new/deep/file")
    })
    .await;
    let expected = [
        ("last", Kind::Created),
        ("new", Kind::Created),
        ("new/deep", Kind::Created),
        ("new/deep/file", Kind::Created),
        ("there", Kind::Changed),
    ];
    assert_eq!(
        seen,
        expected.map(|(path, kind)| (path.to_owned(), kind)).into()
    );
    // The new folder is followed from then on.
    output(
        &session,
        "rm new/deep/file; mv new moved; touch moved/inside",
    )
    .await;
    let (seen, _) = changes(&world, &mut feed, |seen| seen.contains_key("moved/inside")).await;
    assert_eq!(seen.get("new"), Some(&Kind::Deleted));
    assert_eq!(seen.get("moved"), Some(&Kind::Created));
}

#[tokio::test]
async fn many_changes_of_a_file_are_one_event() {
    let world = World::start().await;
    let session = world.editor().await;
    std::fs::write(world.path("log"), "").unwrap();
    let (mut feed, first) = armed(&session, watch_request(&world)).await;
    output(
        &session,
        "i=0; while [ $i -lt 1000 ]; do echo $i >> log; i=$((i+1)); done; touch end",
    )
    .await;
    let (_, last) = changes(&world, &mut feed, |seen| seen.contains_key("end")).await;
    assert!(
        last.sequence - first.sequence < 200,
        "{} events",
        last.sequence - first.sequence
    );
}

#[tokio::test]
async fn a_client_that_comes_back_gets_the_changes_it_missed() {
    let mut world = World::start().await;
    let session = world.editor().await;
    let (mut feed, first) = armed(&session, watch_request(&world)).await;
    std::fs::write(world.path("one"), "").unwrap();
    let (_, seen) = changes(&world, &mut feed, |seen| seen.contains_key("one")).await;
    drop((feed, session));
    world.reconnect().await;
    std::fs::write(world.path("two"), "").unwrap();
    std::fs::remove_file(world.path("one")).unwrap();
    let session = world.editor().await;
    let resume = FileWatch {
        resume: seen.sequence,
        resume_watch: seen.watch.clone(),
        ..watch_request(&world)
    };
    let (mut feed, again) = armed(&session, resume).await;
    assert!(!again.rescan && again.watch == first.watch);
    let (seen, _) = changes(&world, &mut feed, |seen| seen.len() == 2).await;
    let expected = [("one", Kind::Deleted), ("two", Kind::Created)];
    assert_eq!(
        seen,
        expected.map(|(path, kind)| (path.to_owned(), kind)).into()
    );
    // A watch that nobody knows any more: everything has to be looked at again.
    let unknown = FileWatch {
        resume: 7,
        resume_watch: vec![9; 16].into(),
        ..watch_request(&world)
    };
    assert!(armed(&session, unknown).await.1.rescan);
}

#[tokio::test]
async fn a_file_is_followed_over_its_replacement_by_our_own_write() {
    let world = World::start().await;
    let session = world.editor().await;
    std::fs::write(world.path("file"), "").unwrap();
    let request = FileWatch {
        path: world.text("file"),
        ..FileWatch::default()
    };
    let (mut feed, _) = armed(&session, request).await;
    for _ in 0..2 {
        session.put_file(&world.text("file"), b"new").await.unwrap();
        let (seen, _) = changes(&world, &mut feed, |seen| !seen.is_empty()).await;
        assert_eq!(seen.len(), 1, "{seen:?}");
        assert!(seen.contains_key("file"));
    }
}

fn search(world: &World, pattern: &str) -> SearchText {
    SearchText {
        root: world.text(""),
        pattern: pattern.into(),
        ..SearchText::default()
    }
}

async fn found(session: &Session, request: SearchText) -> (Vec<(String, u32)>, bool) {
    let mut found = Vec::new();
    let finished = session
        .search_text(request, |files| {
            for file in files {
                let name = file.path.rsplit('/').next().unwrap().to_owned();
                found.extend(file.lines.iter().map(|line| (name.clone(), line.line)));
            }
        })
        .await
        .unwrap();
    found.sort();
    (found, finished.limit_hit)
}

#[tokio::test]
async fn texts_are_found_as_asked() {
    let world = World::start().await;
    let session = world.bulk_session().await;
    output(
        &session,
        "git init -q .; echo ignored > .gitignore; echo needle > ignored; \
         printf 'one\\nNeedle two\\nneedles (x)\\n' > a.txt; echo needle > b.rs; printf 'needle\\0' > binary",
    )
    .await;
    let names = |found: Vec<(String, u32)>| {
        found
            .into_iter()
            .map(|(name, line)| format!("{name}:{line}"))
            .collect::<Vec<_>>()
            .join(" ")
    };
    assert_eq!(
        names(found(&session, search(&world, "needle")).await.0),
        "a.txt:2 a.txt:3 b.rs:1"
    );
    let exact = SearchText {
        case_sensitive: true,
        whole_word: true,
        ..search(&world, "needle")
    };
    assert_eq!(names(found(&session, exact).await.0), "b.rs:1");
    assert_eq!(
        names(found(&session, search(&world, "s (x)")).await.0),
        "a.txt:3"
    );
    let regex = SearchText {
        regex: true,
        ..search(&world, "^nee.*\\)$")
    };
    assert_eq!(names(found(&session, regex).await.0), "a.txt:3");
    let all = SearchText {
        no_ignore: true,
        includes: vec!["ig*".into()],
        ..search(&world, "needle")
    };
    assert_eq!(names(found(&session, all).await.0), "ignored:1");
    let some = SearchText {
        excludes: vec!["*.txt".into()],
        ..search(&world, "needle")
    };
    assert_eq!(names(found(&session, some).await.0), "b.rs:1");
    let (few, limit_hit) = found(
        &session,
        SearchText {
            max_results: 2,
            ..search(&world, "needle")
        },
    )
    .await;
    assert!(few.len() == 2 && limit_hit);
    let wrong = SearchText {
        regex: true,
        ..search(&world, "(")
    };
    assert!(session.search_text(wrong, drop).await.is_err());
    let mut spans = Vec::new();
    session
        .search_text(search(&world, "(x)"), |files| {
            spans.extend(files[0].lines[0].spans.clone())
        })
        .await
        .unwrap();
    assert_eq!(spans, [Span { start: 8, end: 11 }]);
}

#[tokio::test]
async fn a_search_that_nobody_wants_stops() {
    let world = World::start().await;
    let session = world.bulk_session().await;
    output(
        &session,
        "i=0; while [ $i -lt 300 ]; do yes needle | head -n 5000 > f$i; i=$((i+1)); done",
    )
    .await;
    // More searches than there are threads for them, each stuck on a client that does not read.
    let request = || SearchText {
        max_results: u32::MAX,
        ..search(&world, "needle")
    };
    let mut calls: Vec<_> = (0..40)
        .map(|_| {
            session
                .call(guest_protocol::client::Request::SearchText(request()))
                .unwrap()
        })
        .collect();
    soon("matches", calls[0].next()).await.unwrap();
    drop(calls);
    let (few, _) = soon(
        "a new search",
        found(
            &session,
            SearchText {
                max_results: 3,
                ..request()
            },
        ),
    )
    .await;
    assert_eq!(few.len(), 3);
}

#[tokio::test]
async fn names_are_found_by_some_of_their_characters() {
    let world = World::start().await;
    let session = world.editor().await;
    output(
        &session,
        "mkdir -p src/deep; touch src/main.rs src/deep/admin.rs readme.md",
    )
    .await;
    let ask = async |query: &str| {
        let mut names = Vec::new();
        let request = SearchFiles {
            root: world.text(""),
            query: query.into(),
            ..SearchFiles::default()
        };
        session
            .search_files(request, |paths| names.extend(paths))
            .await
            .unwrap();
        names
            .into_iter()
            .map(|path| path.replace(&world.text(""), ""))
            .collect::<Vec<_>>()
    };
    assert_eq!(
        ask("MN.rs").await,
        ["src/main.rs", "src/deep/admin.rs"].map(|path| path.to_owned())
    );
    assert_eq!(ask("").await.len(), 3);
}

#[tokio::test]
async fn ports_come_and_go_and_are_reached() {
    let world = World::start().await;
    let session = world.editor().await;
    let mut feed = session.watch_ports().unwrap();
    assert!(
        soon("ports", feed.next())
            .await
            .unwrap()
            .unwrap()
            .ports
            .is_empty()
    );
    let server = "import socket\ns = socket.create_server(('127.0.0.1', 0))\n\
        c, _ = s.accept()\nc.sendall(b'hello ' + c.recv(100))\nc.close()";
    let start = guest_protocol::frames::ExecStart {
        command: ["python3", "-c", server].map(String::from).to_vec(),
        ..shell("")
    };
    let exec = session.exec(start).await.unwrap();
    let ports = soon("the port", feed.next()).await.unwrap().unwrap().ports;
    let [port] = &ports[..] else {
        panic!("{ports:?}")
    };
    assert!(port.loopback_only);
    assert_eq!(
        (port.pid, port.process.starts_with("python3")),
        (exec.started().process, true)
    );

    use guest_protocol::client::open_stream;
    use guest_protocol::frames::{TcpStream, failure, stream_open};
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let mut stream = world.bulk.open().await.unwrap();
    let tcp = |port| stream_open::Kind::Tcp(TcpStream { port });
    open_stream(&mut stream, tcp(port.port)).await.unwrap();
    stream.write_all(b"there").await.unwrap();
    let mut answer = Vec::new();
    soon("the answer", stream.read_to_end(&mut answer))
        .await
        .unwrap();
    assert_eq!(answer, b"hello there");
    assert!(
        soon("no ports", feed.next())
            .await
            .unwrap()
            .unwrap()
            .ports
            .is_empty()
    );
    for (port, kind) in [
        (port.port, failure::Kind::Refused),
        (70_000, failure::Kind::Invalid),
    ] {
        let mut stream = world.bulk.open().await.unwrap();
        let error = open_stream(&mut stream, tcp(port)).await.unwrap_err();
        assert_eq!(error.kind(), Some(kind), "{error}");
    }
}

#[tokio::test]
async fn figures_and_processes_are_told() {
    let world = World::start().await;
    let session = world.editor().await;
    let mut feed = session.watch_metrics(250).unwrap();
    for _ in 0..2 {
        let metrics = soon("figures", feed.next()).await.unwrap().unwrap();
        assert!(metrics.cpus > 0 && metrics.memory_total > metrics.memory_used);
        assert!(metrics.disk_total > metrics.disk_used && metrics.processes > 0);
    }
    let exec = session.exec(shell("exec sleep 1000")).await.unwrap();
    let pid = exec.started().process;
    until("the process", || async {
        let processes = session.list_processes().await.unwrap();
        processes
            .into_iter()
            .find(|process| process.pid == pid && process.command == "sleep 1000")
    })
    .await;
}
