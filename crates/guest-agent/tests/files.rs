//! Files: information, streams, atomic writes, links, archives.
#![allow(clippy::unwrap_used)]

mod world;

use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};

use guest_protocol::client::{Error, Request};
use guest_protocol::frames::{FileType, FileWrite, failure};
use world::{World, output, soon, until};

fn kind<T: std::fmt::Debug>(result: Result<T, Error>) -> Option<failure::Kind> {
    result.unwrap_err().kind()
}

#[tokio::test]
async fn listings_and_information_tell_what_is_there() {
    let world = World::start().await;
    let session = world.editor().await;
    std::fs::create_dir(world.path("folder")).unwrap();
    std::fs::write(world.path("folder/b"), "12345").unwrap();
    symlink("b", world.path("folder/a-link")).unwrap();
    symlink("nowhere", world.path("folder/dangling")).unwrap();
    let entries = session.list(&world.text("folder")).await.unwrap();
    let seen: Vec<_> = entries
        .iter()
        .map(|entry| (entry.name.as_str(), entry.r#type(), entry.symlink))
        .collect();
    assert_eq!(
        seen,
        [
            ("a-link", FileType::File, true),
            ("b", FileType::File, false),
            ("dangling", FileType::Symlink, true),
        ]
    );
    assert_eq!(entries[1].size, 5);
    assert_eq!(
        session.stat(&world.text("folder")).await.unwrap().r#type(),
        FileType::Directory
    );
    assert_eq!(
        kind(session.stat(&world.text("none")).await),
        Some(failure::Kind::NotFound)
    );
    assert_eq!(
        kind(session.stat("relative").await),
        Some(failure::Kind::Invalid)
    );
    assert_eq!(
        kind(session.stat("/a/../b").await),
        Some(failure::Kind::Invalid)
    );
    assert_eq!(
        kind(session.list(&world.text("folder/b")).await),
        Some(failure::Kind::NotADirectory)
    );
}

#[tokio::test]
async fn thousands_of_entries_are_listed() {
    let world = World::start().await;
    let session = world.editor().await;
    for number in 0..1234 {
        std::fs::write(world.path(&format!("{number}")), "").unwrap();
    }
    assert_eq!(session.list(&world.text("")).await.unwrap().len(), 1234);
}

#[tokio::test]
async fn large_files_stream_both_ways_with_the_same_bytes() {
    let world = World::start().await;
    let session = world.bulk_session().await;
    let size = 100 * 1024 * 1024 + 17;
    let content: Vec<u8> = (0..size as u32)
        .map(|at| (at.wrapping_mul(2_654_435_761) >> 13) as u8)
        .collect();
    let request = FileWrite {
        path: world.text("large"),
        create: true,
        ..FileWrite::default()
    };
    let info = soon("the upload", session.write_file(request, &content[..]))
        .await
        .unwrap();
    assert_eq!(info.size, size as u64);
    assert!(std::fs::read(world.path("large")).unwrap() == content);
    let download = session.read_file(&world.text("large"), 0, 0).await.unwrap();
    assert_eq!(download.info().unwrap().size, size as u64);
    assert!(soon("the download", download.collect()).await.unwrap() == content);
    let part = session
        .read_file(&world.text("large"), 1_000_000, 300_000)
        .await
        .unwrap();
    assert!(part.collect().await.unwrap() == content[1_000_000..1_300_000]);
    let beyond = session
        .read_file(&world.text("large"), size as u64 + 5, 0)
        .await
        .unwrap();
    assert!(beyond.collect().await.unwrap().is_empty());
}

#[tokio::test]
async fn a_write_appears_at_once_or_not_at_all() {
    let world = World::start().await;
    let session = world.editor().await;
    std::fs::write(world.path("file"), "before").unwrap();
    std::fs::set_permissions(world.path("file"), PermissionsExt::from_mode(0o750)).unwrap();
    let request = FileWrite {
        path: world.text("file"),
        overwrite: true,
        ..FileWrite::default()
    };
    let mut call = session.call(Request::FileWrite(request.clone())).unwrap();
    let mut writer = call.writer();
    writer.write("half of it").await.unwrap();
    // Its temporary file is there, and the file as it was.
    until("the temporary file", || async {
        (std::fs::read_dir(world.path("")).unwrap().count() == 2).then_some(())
    })
    .await;
    assert_eq!(std::fs::read(world.path("file")).unwrap(), b"before");
    drop((call, writer));
    until("the temporary file to go", || async {
        (std::fs::read_dir(world.path("")).unwrap().count() == 1).then_some(())
    })
    .await;
    assert_eq!(std::fs::read(world.path("file")).unwrap(), b"before");
    let info = session.write_file(request, &b"after"[..]).await.unwrap();
    assert_eq!(std::fs::read(world.path("file")).unwrap(), b"after");
    assert_eq!((info.mode, info.size), (0o750, 5));
}

#[tokio::test]
async fn versions_and_flags_are_respected() {
    let world = World::start().await;
    let session = world.editor().await;
    let path = world.text("file");
    let ask = |create, overwrite, version: &str| FileWrite {
        path: path.clone(),
        create,
        overwrite,
        if_version: version.into(),
        ..FileWrite::default()
    };
    let write = |request| session.write_file(request, &b"x"[..]);
    assert_eq!(
        kind(write(ask(false, true, "")).await),
        Some(failure::Kind::NotFound)
    );
    let first = write(ask(true, false, "")).await.unwrap();
    assert_eq!(first.mode, 0o644);
    assert_eq!(
        kind(write(ask(true, false, "")).await),
        Some(failure::Kind::AlreadyExists)
    );
    let second = write(ask(false, true, &first.version)).await.unwrap();
    assert_ne!(first.version, second.version);
    assert_eq!(
        kind(write(ask(false, true, &first.version)).await),
        Some(failure::Kind::Conflict)
    );
    let deep = FileWrite {
        path: world.text("a/b/c"),
        create: true,
        make_parents: true,
        mode: 0o600,
        ..FileWrite::default()
    };
    assert_eq!(
        session.write_file(deep, &b"x"[..]).await.unwrap().mode,
        0o600
    );
    assert_eq!(
        kind(session.put_file(&world.text("a/b"), b"x").await),
        Some(failure::Kind::IsADirectory)
    );
}

#[tokio::test]
async fn a_file_in_parts_appears_with_the_last_and_a_part_can_be_sent_again() {
    let world = World::start().await;
    let session = world.editor().await;
    std::fs::write(world.path("file"), "before").unwrap();
    std::fs::set_permissions(world.path("file"), PermissionsExt::from_mode(0o440)).unwrap();
    let part = |offset, more| FileWrite {
        path: world.text("file"),
        create: true,
        overwrite: true,
        upload: "big-1".into(),
        offset,
        more,
        ..FileWrite::default()
    };
    let there = || std::fs::read_dir(world.path("")).unwrap().count();
    let write = async |request, bytes: &[u8]| session.write_file(request, bytes).await;
    assert_eq!(
        kind(write(part(3, true), b"no beginning").await),
        Some(failure::Kind::Conflict)
    );
    assert_eq!(write(part(0, true), b"hello, ").await.unwrap().size, 7);
    assert_eq!(write(part(7, true), b"wrld").await.unwrap().size, 11);
    // The server said nothing of that one, as far as the client knows.
    assert_eq!(write(part(7, true), b"world").await.unwrap().size, 12);
    let gap = write(part(13, false), b"!").await.unwrap_err();
    assert_eq!(gap.kind(), Some(failure::Kind::Conflict));
    assert!(gap.to_string().contains("12 bytes so far"), "{gap}");
    assert_eq!(std::fs::read(world.path("file")).unwrap(), b"before");
    assert_eq!(there(), 2);
    let info = write(part(12, false), b"!").await.unwrap();
    assert_eq!((info.mode, info.size), (0o440, 13));
    assert_eq!(std::fs::read(world.path("file")).unwrap(), b"hello, world!");
    assert_eq!(there(), 1);

    // An upload that nobody went on with for a day goes with the next.
    write(part(0, true), b"left").await.unwrap();
    let left = std::fs::read_dir(world.path(""))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .find(|path| path != &world.path("file"))
        .unwrap();
    let day = std::time::Duration::from_secs(24 * 3600 + 60);
    let file = std::fs::File::options().write(true).open(&left).unwrap();
    file.set_modified(std::time::SystemTime::now() - day)
        .unwrap();
    let other = FileWrite {
        upload: "big-2".into(),
        ..part(0, false)
    };
    write(other, b"short").await.unwrap();
    assert_eq!(there(), 1);
    let climbing = FileWrite {
        upload: "../x".into(),
        ..part(0, true)
    };
    assert_eq!(
        kind(write(climbing, b"x").await),
        Some(failure::Kind::Invalid)
    );
}

#[tokio::test]
async fn links_are_told_and_made() {
    let world = World::start().await;
    let session = world.editor().await;
    session.link(&world.text("link"), "no/where").await.unwrap();
    let own = session.stat_link(&world.text("link")).await.unwrap();
    assert_eq!(own.link_target, "no/where");
    std::fs::write(world.path("file"), "x").unwrap();
    session.link(&world.text("link"), "file").await.unwrap();
    let followed = session.stat(&world.text("link")).await.unwrap();
    assert_eq!(
        (followed.r#type(), followed.symlink),
        (FileType::File, true)
    );
    assert_eq!(followed.link_target, "file");
    session
        .make_directory(&world.text("folder"), false)
        .await
        .unwrap();
    assert_eq!(
        kind(session.link(&world.text("folder"), "file").await),
        Some(failure::Kind::IsADirectory)
    );
    assert_eq!(std::fs::read_dir(world.path("")).unwrap().count(), 3);
}

#[tokio::test]
async fn a_link_stays_and_what_it_leads_to_is_written() {
    let world = World::start().await;
    let session = world.editor().await;
    std::fs::write(world.path("target"), "old").unwrap();
    symlink("target", world.path("link")).unwrap();
    session.put_file(&world.text("link"), b"new").await.unwrap();
    assert!(
        std::fs::symlink_metadata(world.path("link"))
            .unwrap()
            .is_symlink()
    );
    assert_eq!(std::fs::read(world.path("target")).unwrap(), b"new");
}

#[tokio::test]
async fn folders_are_made_renamed_copied_and_removed() {
    let world = World::start().await;
    let session = world.editor().await;
    session
        .make_directory(&world.text("a/b"), true)
        .await
        .unwrap();
    session
        .make_directory(&world.text("a/b"), true)
        .await
        .unwrap();
    assert_eq!(
        kind(session.make_directory(&world.text("a"), false).await),
        Some(failure::Kind::AlreadyExists)
    );
    session
        .put_file(&world.text("a/b/file"), b"content")
        .await
        .unwrap();
    symlink("file", world.path("a/b/link")).unwrap();
    session
        .copy(&world.text("a"), &world.text("copy"), false)
        .await
        .unwrap();
    assert_eq!(
        std::fs::read(world.path("copy/b/file")).unwrap(),
        b"content"
    );
    assert!(
        std::fs::symlink_metadata(world.path("copy/b/link"))
            .unwrap()
            .is_symlink()
    );
    assert_eq!(
        kind(
            session
                .copy(&world.text("a"), &world.text("copy"), false)
                .await
        ),
        Some(failure::Kind::AlreadyExists)
    );
    assert_eq!(
        kind(
            session
                .copy(&world.text("a"), &world.text("a/b/c"), false)
                .await
        ),
        Some(failure::Kind::Invalid)
    );
    session
        .copy(&world.text("a"), &world.text("copy"), true)
        .await
        .unwrap();
    assert_eq!(
        kind(
            session
                .rename(&world.text("a"), &world.text("copy"), false)
                .await
        ),
        Some(failure::Kind::AlreadyExists)
    );
    session
        .rename(&world.text("a"), &world.text("copy"), true)
        .await
        .unwrap();
    assert!(!world.path("a").exists());
    assert_eq!(
        kind(session.remove(&world.text("copy"), false).await),
        Some(failure::Kind::DirectoryNotEmpty)
    );
    session.remove(&world.text("copy"), true).await.unwrap();
    assert_eq!(
        kind(session.remove(&world.text("copy"), true).await),
        Some(failure::Kind::NotFound)
    );
}

#[tokio::test]
async fn removing_a_link_leaves_what_it_leads_to() {
    let world = World::start().await;
    let session = world.editor().await;
    session
        .put_file(&world.text("kept/file"), b"x")
        .await
        .unwrap_err();
    std::fs::create_dir(world.path("kept")).unwrap();
    std::fs::write(world.path("kept/file"), "x").unwrap();
    std::fs::create_dir(world.path("folder")).unwrap();
    symlink("../kept", world.path("folder/link")).unwrap();
    session.remove(&world.text("folder"), true).await.unwrap();
    assert!(world.path("kept/file").exists());
}

#[tokio::test]
async fn a_pipe_is_refused_rather_than_waited_for() {
    let world = World::start().await;
    let session = world.editor().await;
    output(&session, "mkfifo pipe").await;
    let read = soon("the refusal", session.read_file(&world.text("pipe"), 0, 0)).await;
    assert_eq!(kind(read), Some(failure::Kind::Invalid));
}

#[tokio::test]
async fn archives_hold_the_folder_and_come_back_the_same() {
    let world = World::start().await;
    let session = world.bulk_session().await;
    std::fs::create_dir_all(world.path("folder/inner")).unwrap();
    let content: Vec<u8> = (0..3_000_000_u32)
        .map(|at| (at.wrapping_mul(2_654_435_761) >> 9) as u8)
        .collect();
    std::fs::write(world.path("folder/inner/data"), &content).unwrap();
    std::fs::write(world.path("folder/run"), "#!/bin/sh\n").unwrap();
    std::fs::set_permissions(world.path("folder/run"), PermissionsExt::from_mode(0o755)).unwrap();
    symlink("run", world.path("folder/link")).unwrap();
    let tar = session.archive(&world.text("folder"), false).unwrap();
    let packed = soon("the archive", tar.collect()).await.unwrap();
    std::fs::write(world.path("archive.tar.gz"), &packed).unwrap();
    let unpacked = output(
        &session,
        "gzip -d archive.tar.gz && cat archive.tar | tar t | sort",
    )
    .await;
    assert_eq!(
        String::from_utf8(unpacked.stdout).unwrap(),
        "folder\nfolder/inner\nfolder/inner/data\nfolder/link\nfolder/run\n"
    );
    let tar = std::fs::read(world.path("archive.tar")).unwrap();
    soon(
        "the extraction",
        session.extract(&world.text("back"), &tar[..]),
    )
    .await
    .unwrap();
    assert!(std::fs::read(world.path("back/folder/inner/data")).unwrap() == content);
    assert_eq!(
        std::fs::metadata(world.path("back/folder/run"))
            .unwrap()
            .mode()
            & 0o777,
        0o755
    );
    let zip = session.archive(&world.text("folder"), true).unwrap();
    std::fs::write(
        world.path("archive.zip"),
        soon("the zip", zip.collect()).await.unwrap(),
    )
    .unwrap();
    let listed = output(
        &session,
        "python3 -c 'import zipfile; z = zipfile.ZipFile(\"archive.zip\"); print(z.testzip(), sorted(z.namelist())); \
         z.extract(\"folder/inner/data\", \"zipped\")'",
    )
    .await;
    assert_eq!(
        String::from_utf8(listed.stdout).unwrap(),
        "None ['folder/', 'folder/inner/', 'folder/inner/data', 'folder/link', 'folder/run']\n"
    );
    assert!(std::fs::read(world.path("zipped/folder/inner/data")).unwrap() == content);
}

#[tokio::test]
async fn an_archive_reaches_nothing_outside_its_folder() {
    let world = World::start().await;
    let session = world.editor().await;
    let script = "import tarfile, io\n\
        t = tarfile.open('evil.tar', 'w')\n\
        for name in ['../outside', 'fine']:\n\
        \x20 i = tarfile.TarInfo(name); i.size = 1; t.addfile(i, io.BytesIO(b'x'))\n\
        t.close()";
    std::fs::write(world.path("make.py"), script).unwrap();
    assert!(output(&session, "python3 make.py").await.success());
    let tar = std::fs::read(world.path("evil.tar")).unwrap();
    session
        .extract(&world.text("into"), &tar[..])
        .await
        .unwrap();
    assert!(world.path("into/fine").exists() && !world.path("outside").exists());
    assert!(
        session
            .extract(
                &world.text("into"),
                &b"this is not a tar archive at all, but it is long enough"[..]
            )
            .await
            .is_err()
    );
}
