//! Work in progress: saved without a trace in what is the user's, listed, restored, carried into another clone.
#![allow(clippy::unwrap_used)]

mod world;

use guest_protocol::client::Session;
use guest_protocol::frames::{
    Configure, Role, WipBundle, WipSave, failure, wip_listing, wip_saved,
};
use world::{World, output, soon, until};

/// Two commits on main; `a`, `gone`, `old name`, `tool` and `.gitignore` are tracked.
const REPOSITORY: &str = "git init -q; printf '1\\n2\\n' > a; echo g > gone; echo o > 'old name'; echo t > tool; \
    echo '*.log' > .gitignore; git add .; git commit -q -m one; echo 3 >> a; git commit -q -a -m two";
/// Every kind of change.
const WORK: &str = "echo staged > a; git add a; echo 4 > a; rm gone; git mv 'old name' 'new name'; chmod +x tool; \
    ln -s a link; printf '\\0\\377' > binary; mkdir -p d/e; echo u > 'd/e/un\ttracked'; echo l > x.log";
/// What a working tree and its index hold, and what must not change by itself.
const STATE: &str = "find . -name .git -prune -o -printf '%p %y %m %l ' -type f -exec sha1sum {} ';' -o -printf '\\n' | \
    sort; sha1sum < .git/index; stat -c %y .git/index; cat .git/HEAD; git rev-parse -q --verify HEAD; \
    git for-each-ref refs/heads refs/tags refs/stash; GIT_OPTIONAL_LOCKS=0 git status --porcelain=v2; ls .git/hooks";

async fn start(script: &str) -> (World, Session) {
    start_with(&[], script).await
}

async fn start_with(arguments: &[&str], script: &str) -> (World, Session) {
    let world = World::start_with(arguments).await;
    let configure = Configure {
        folder: "demo".into(),
        git_user_name: "Zoë".into(),
        git_user_email: "zoe@example.org".into(),
        ..Configure::default()
    };
    let host = world.session(Role::Host).await;
    soon("configure", host.configure(configure)).await.unwrap();
    let session = world.editor().await;
    run(&session, script).await;
    (world, session)
}

async fn run(session: &Session, script: &str) -> String {
    let output = output(session, &format!("set -e; {script}")).await;
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.success(), "{script}: {said}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

async fn save(session: &Session, path: &str) -> wip_saved::Repository {
    let request = WipSave {
        path: path.into(),
        reason: "test".into(),
        ..WipSave::default()
    };
    let mut saved = soon("saving", session.wip_save(request)).await.unwrap();
    assert_eq!(saved.len(), 1);
    saved.remove(0)
}

async fn list(session: &Session, path: &str) -> Vec<wip_listing::Saved> {
    let mut listed = soon("listing", session.wip_list(path)).await.unwrap();
    assert_eq!((listed.len(), listed[0].error.as_str()), (1, ""));
    listed.remove(0).saved
}

#[tokio::test]
async fn everything_is_saved_and_nothing_else_is_touched() {
    let hostile = "for hook in pre-commit reference-transaction post-index-change; do \
        printf '#!/bin/sh\\ntouch \"%s\"\\nexit 1\\n' \"$PWD/../ran\" > .git/hooks/$hook; chmod +x .git/hooks/$hook; done; \
        git config commit.gpgsign true; git config user.signingkey nobody; git config gpg.program /bin/false; \
        git config core.editor /bin/false; git config core.logAllRefUpdates always; git config core.safecrlf true; \
        git config core.splitIndex true; git config i18n.commitEncoding latin1; git config --unset user.name || true";
    let (world, session) = start(&format!("{REPOSITORY}; {WORK}; {hostile}")).await;
    let path = world.text("demo");
    let before = run(&session, STATE).await;
    let saved = save(&session, &path).await;
    assert_eq!(saved.error, "");
    assert_eq!(run(&session, STATE).await, before);
    assert!(!world.path("ran").exists());
    assert!(!world.path("demo/.git/logs/refs/roost").exists());
    let temporary = world.folder.path().join("tmp");
    until("no temporary files", || {
        let left = std::fs::read_dir(&temporary).unwrap().count();
        async move { (left == 0).then_some(()) }
    })
    .await;
    assert!(saved.changed && saved.left_out.is_empty(), "{saved:?}");
    // a, gone, both names, tool, link, binary, untracked.
    assert_eq!(saved.files, 8);

    let reference = &saved.reference;
    assert!(
        reference.starts_with("refs/roost/wip/main/2"),
        "{reference}"
    );
    let tree = format!("git ls-tree -r {reference} | sed 's/ blob [0-9a-f]*//'");
    let names = "100644\t.gitignore\n100644\ta\n100644\tbinary\n100644\t\"d/e/un\\ttracked\"\n120000\tlink\n\
        100644\tnew name\n100755\ttool\n";
    let mut names: Vec<_> = names.lines().collect();
    let tree = run(&session, &tree).await;
    let mut found: Vec<_> = tree.lines().collect();
    names.sort_unstable();
    found.sort_unstable();
    assert_eq!(found, names);
    let checks = format!(
        "git show {reference}:a; git show {reference}^2:a; git rev-parse {reference}^1; git rev-parse HEAD; \
         git rev-parse {reference}^2^{{tree}}; git write-tree; git log -1 --format='%an %s' {reference}"
    );
    let checked = run(&session, &checks).await;
    let lines: Vec<_> = checked.lines().collect();
    assert_eq!(lines[..2], ["4", "staged"]);
    assert_eq!(lines[2], lines[3]);
    assert_eq!(lines[4], lines[5]);
    assert_eq!(lines[6], "Roost Work in progress: test");

    let again = save(&session, &path).await;
    assert_eq!((&again.reference, again.changed), (reference, false));
    let listed = list(&session, &path).await;
    let [one] = &listed[..] else {
        panic!("{listed:?}")
    };
    assert_eq!((&one.reference, &one.commit), (reference, &saved.commit));
    assert_eq!((one.branch.as_str(), one.reason.as_str()), ("main", "test"));
    assert_eq!(
        (one.head.as_str(), one.files, one.bytes),
        (lines[2], 8, saved.bytes)
    );
    assert_eq!((one.insertions, one.deletions), (4, 5));

    run(
        &session,
        "rm .git/hooks/*; git commit -q --no-gpg-sign -a -m x; git add -A",
    )
    .await;
    // The index alone.
    assert!(save(&session, &path).await.changed);
    run(&session, "git reset -q --hard").await;
    let clean = save(&session, &path).await;
    assert_eq!((clean.error.as_str(), clean.reference.as_str()), ("", ""));
}

#[tokio::test]
async fn what_was_saved_comes_back_and_so_does_what_was_there() {
    let (world, session) = start(&format!("{REPOSITORY}; {WORK}")).await;
    let path = world.text("demo");
    let files = "find . -name .git -prune -o -printf '%p %y %m %l\\n' | sort; cat a binary d/e/* tool x.log";
    let before = run(&session, files).await;
    let saved = save(&session, &path).await;
    run(
        &session,
        "git reset -q --hard; git clean -q -f -d; mkdir link; echo n > link/new; echo 9 > a",
    )
    .await;
    let index = "sha1sum < .git/index; stat -c %y .git/index; git rev-parse HEAD";
    let (wreck, own) = (
        run(&session, "git status --porcelain; cat a").await,
        run(&session, index).await,
    );
    let restored = soon("restoring", session.wip_restore(&path, &saved.reference))
        .await
        .unwrap();
    assert_eq!(run(&session, files).await, before);
    assert_eq!(run(&session, index).await, own);
    assert!(restored.files > 0);
    assert_eq!(list(&session, &path).await[0].reason, "restore");
    soon("back", session.wip_restore(&path, &restored.before))
        .await
        .unwrap();
    assert_eq!(run(&session, "git status --porcelain; cat a").await, wreck);

    let nowhere = world.text("nowhere");
    let nowhere = session.wip_restore(&nowhere, &saved.reference).await;
    let nowhere = nowhere.unwrap_err();
    assert_eq!(nowhere.kind(), Some(failure::Kind::NotFound), "{nowhere}");
    let unknown = session
        .wip_restore(&path, "refs/heads/main")
        .await
        .unwrap_err();
    assert_eq!(unknown.kind(), Some(failure::Kind::NotFound));
    // What is ignored now is not saved, so it is not overwritten.
    run(&session, "echo binary > .gitignore; echo mine > binary").await;
    let refused = session
        .wip_restore(&path, &saved.reference)
        .await
        .unwrap_err();
    assert_eq!(refused.kind(), Some(failure::Kind::Conflict));
    assert!(refused.to_string().contains(": binary;"), "{refused}");
    assert_eq!(run(&session, "cat binary").await, "mine\n");
}

#[tokio::test]
async fn files_folders_and_links_change_places() {
    let script = "git init -q; mkdir folder other; echo 1 > folder/in; echo 2 > other/in; echo 3 > file; ln -s file link; \
        git add .; git commit -q -m one";
    let change = "rm -r folder other file link; ln -s /tmp folder; echo 4 > other; mkdir file link; echo 5 > file/in; \
        echo 6 > link/in";
    let (world, session) = start(&format!("{script}; {change}")).await;
    let path = world.text("demo");
    let files =
        "find . -name .git -prune -o -printf '%p %y %l\\n' | sort; cat other file/in link/in";
    let before = run(&session, files).await;
    let saved = save(&session, &path).await;
    assert_eq!((saved.error.as_str(), saved.files), ("", 8));
    run(
        &session,
        "rm -rf folder other file link; git reset -q --hard",
    )
    .await;
    let restored = soon("restoring", session.wip_restore(&path, &saved.reference)).await;
    assert_eq!(run(&session, files).await, before);
    let there = restored.unwrap().before;
    let back = session.wip_restore(&path, &there);
    soon("back", back).await.unwrap();
    assert_eq!(run(&session, "git status --porcelain").await, "");
    // An ignored file keeps a folder from becoming a file.
    run(
        &session,
        "echo '*.log' > .git/info/exclude; echo l > other/x.log",
    )
    .await;
    let refused = session
        .wip_restore(&path, &saved.reference)
        .await
        .unwrap_err();
    assert!(refused.to_string().contains(": other/x.log;"), "{refused}");
}

#[tokio::test]
async fn a_branch_without_commits_and_no_branch() {
    let (world, session) =
        start("git init -q; echo 1 > a; git add a; echo 2 > a; echo b > b").await;
    let path = world.text("demo");
    let saved = save(&session, &path).await;
    assert_eq!((saved.error.as_str(), saved.files), ("", 2));
    let shown = format!(
        "git show {0}:a {0}:b {0}^1:a; git status --porcelain",
        saved.reference
    );
    assert_eq!(run(&session, &shown).await, "2\nb\n1\nAM a\n?? b\n");
    assert_eq!(list(&session, &path).await[0].head, "");
    run(
        &session,
        "rm b; git commit -q -m one; git checkout -q --detach; echo 3 > a",
    )
    .await;
    let saved = save(&session, &path).await;
    assert!(
        saved.reference.starts_with("refs/roost/wip/detached/"),
        "{saved:?}"
    );
    let listed = list(&session, &path).await;
    assert_eq!((listed.len(), listed[0].branch.as_str()), (2, ""));
}

#[tokio::test]
async fn a_change_as_old_as_the_index_is_seen() {
    let (world, session) = start(&format!(
        "{REPOSITORY}; git config core.trustctime false; old='touch -d 2024-01-01'; \
         echo 1 > a; $old a; git add a; echo 2 > a; $old a .git/index"
    ))
    .await;
    let saved = save(&session, &world.text("demo")).await;
    let shown = format!("git show {}:a", saved.reference);
    assert_eq!(run(&session, &shown).await, "2\n");
}

#[tokio::test]
async fn a_merge_is_saved_and_not_restored_over() {
    let (world, session) = start(&format!("{REPOSITORY}; echo outside > a")).await;
    let path = world.text("demo");
    let outside = save(&session, &path).await;
    run(
        &session,
        "git checkout -q -b side; git commit -q -a -m side; git checkout -q main; echo m > a; \
        git commit -q -a -m main; git merge -q side || true; echo half > a",
    )
    .await;
    let status = "git status --porcelain=v2; cat .git/MERGE_HEAD; sha1sum < .git/index";
    let before = run(&session, status).await;
    let within = save(&session, &path).await;
    assert_eq!((within.error.as_str(), within.files), ("", 1));
    assert_eq!(run(&session, status).await, before);
    assert_eq!(list(&session, &path).await[0].operation, "merge");
    let refused = session
        .wip_restore(&path, &outside.reference)
        .await
        .unwrap_err();
    assert_eq!(refused.kind(), Some(failure::Kind::Conflict));
    assert!(
        refused.to_string().contains("a merge is under way"),
        "{refused}"
    );
    run(&session, "echo worse > a").await;
    soon("restoring", session.wip_restore(&path, &within.reference))
        .await
        .unwrap();
    assert_eq!(
        run(&session, &format!("cat a; {status}")).await,
        format!("half\n{before}")
    );
}

#[tokio::test]
async fn one_repository_keeps_no_other_from_being_saved() {
    let repository =
        |name: &str| format!("mkdir {name}; cd {name}; {REPOSITORY}; echo 5 > a; cd ..; ");
    let script = ["bare", "broken", "locked", "theirs", "whole"]
        .map(repository)
        .concat()
        + "git -C bare config core.bare true; echo nonsense > broken/.git/HEAD; touch locked/.git/index.lock; \
           chown -R 65534 theirs 2>/dev/null || rm -r theirs";
    let (world, session) = start(&script).await;
    let saved = soon("saving", session.wip_save(WipSave::default()))
        .await
        .unwrap();
    let name = |path: &str| path.rsplit('/').next().unwrap().to_owned();
    for repository in &saved {
        let expected = match name(&repository.path).as_str() {
            "bare" => "bare repository",
            "broken" => "not a git repository",
            "locked" => "git is at work",
            "theirs" => "chown",
            _ => {
                assert!(
                    repository.changed && repository.error.is_empty(),
                    "{repository:?}"
                );
                continue;
            }
        };
        assert!(repository.error.contains(expected), "{repository:?}");
    }
    assert_eq!(name(&saved.last().unwrap().path), "whole");
    // A lock that was left behind.
    run(&session, "touch -d '1 hour ago' locked/.git/index.lock").await;
    let locked = save(&session, &world.text("demo/locked")).await;
    assert!(locked.changed, "{locked:?}");
    let error = session
        .wip_restore(&world.text("demo/locked"), &locked.reference)
        .await
        .unwrap_err();
    assert_eq!(error.kind(), Some(failure::Kind::Busy));
    let viewer = world.session(Role::Viewer).await;
    let error = viewer.wip_list("").await.unwrap_err();
    assert_eq!(error.kind(), Some(failure::Kind::Refused));
}

#[tokio::test]
async fn large_files_and_repositories_within_are_left_out_and_named() {
    let (world, session) = start(&format!(
        "{REPOSITORY}; git -c protocol.file.allow=always submodule add -q \"$PWD/.git\" sub 2>&1; git commit -q -m sub; \
         echo 6 > sub/a; truncate -s 60M video; git init -q inner; echo i > inner/i; echo 5 > a"
    ))
    .await;
    let path = world.text("demo");
    let saved = save(&session, &path).await;
    assert_eq!(saved.error, "");
    assert_eq!(
        (saved.left_out, saved.files),
        (vec!["inner/".into(), "video".into()], 1)
    );
    run(&session, "echo 7 > a").await;
    soon("restoring", session.wip_restore(&path, &saved.reference))
        .await
        .unwrap();
    assert_eq!(
        run(&session, "cat a sub/a inner/i; stat -c %s video").await,
        "5\n6\ni\n62914560\n"
    );
    run(&session, "git checkout -q a").await;
    let saved = save(&session, &path).await;
    assert_eq!((saved.reference.as_str(), saved.left_out.len()), ("", 2));
}

#[tokio::test]
async fn filters_are_the_users() {
    let (world, session) = start(&format!(
        "{REPOSITORY}; git config filter.up.clean 'tr a-z A-Z'; git config filter.up.smudge 'tr A-Z a-z'; \
         echo '*.up filter=up' > .gitattributes; echo text > x.up"
    ))
    .await;
    let path = world.text("demo");
    let saved = save(&session, &path).await;
    run(&session, "echo other > x.up").await;
    soon("restoring", session.wip_restore(&path, &saved.reference))
        .await
        .unwrap();
    let shown = format!("git show {}:x.up; cat x.up", saved.reference);
    assert_eq!(run(&session, &shown).await, "TEXT\ntext\n");
}

#[tokio::test]
async fn a_bundle_goes_into_a_fresh_clone() {
    let (world, session) = start(&format!(
        "git init -q --bare ../../origin.git; mkdir work; cd work; {REPOSITORY}; \
         git remote add origin ../../../origin.git; git push -q -u origin main; echo 8 > a; git commit -q -a -m unpushed; \
         {WORK}; cd ..; git clone -q ../../origin.git fresh; git init -q empty; git init -q clean; cd clean; {REPOSITORY}"
    ))
    .await;
    let (work, fresh) = (world.text("demo/work"), world.text("demo/fresh"));
    let saved = save(&session, &work).await;
    let bundle = |max_bytes, whole| {
        let request = WipBundle {
            path: work.clone(),
            max_bytes,
            whole,
            ..WipBundle::default()
        };
        let bulk = world.bulk_session();
        async move {
            let (bundled, download) = bulk.await.wip_bundle(request).await?;
            Ok::<_, guest_protocol::client::Error>((bundled, download.collect().await?))
        }
    };
    let (bundled, bytes) = soon("bundling", bundle(0, false)).await.unwrap();
    assert_eq!(
        (&bundled.reference, &bundled.commit),
        (&saved.reference, &saved.commit)
    );
    let references = soon("unbundling", session.wip_unbundle(&fresh, &bytes[..]))
        .await
        .unwrap();
    assert_eq!(references, std::slice::from_ref(&saved.reference));
    soon("again", session.wip_unbundle(&fresh, &bytes[..]))
        .await
        .unwrap();
    assert_eq!(list(&session, &fresh).await[0].commit, saved.commit);
    soon("restoring", session.wip_restore(&fresh, &saved.reference))
        .await
        .unwrap();
    let same = run(
        &session,
        "rm work/x.log; diff -r -x .git work fresh; git -C fresh fsck --strict 2>&1; git -C fresh log -1 --format=%s",
    );
    assert!(same.await.ends_with("two\n"));

    let too_large = soon("a small bound", bundle(100, false)).await.unwrap_err();
    assert_eq!(too_large.kind(), Some(failure::Kind::NoSpace));
    let empty = world.text("demo/empty");
    let lacking = soon("lacking", session.wip_unbundle(&empty, &bytes[..]))
        .await
        .unwrap_err();
    assert_eq!(lacking.kind(), Some(failure::Kind::Conflict), "{lacking}");
    let (_, whole) = soon("whole", bundle(0, true)).await.unwrap();
    soon("whole", session.wip_unbundle(&empty, &whole[..]))
        .await
        .unwrap();
    let nonsense = soon("nonsense", session.wip_unbundle(&empty, &b"nonsense"[..]))
        .await
        .unwrap_err();
    assert_eq!(nonsense.kind(), Some(failure::Kind::Invalid), "{nonsense}");

    // Commits that were never pushed, with nothing uncommitted.
    let request = WipSave {
        path: world.text("demo/clean"),
        always: true,
        ..WipSave::default()
    };
    let saved = soon("saving", session.wip_save(request)).await.unwrap();
    assert_eq!((saved[0].changed, saved[0].files), (true, 0));
}

#[tokio::test]
async fn old_ones_go() {
    let (world, session) = start(&format!("{REPOSITORY}; echo 5 > a")).await;
    let path = world.text("demo");
    let saved = save(&session, &path).await;
    let older = "for day in 01 02; do for minute in $(seq 10 39); do \
        echo create refs/roost/wip/other/202401${day}T00${minute}00.000Z HEAD; done; done | git update-ref --stdin; \
        git update-ref refs/roost/wip/other/mine HEAD";
    run(&session, older).await;
    assert_eq!(list(&session, &path).await.len(), 61);
    run(&session, "echo 6 > a").await;
    assert!(save(&session, &path).await.changed);
    let kept = list(&session, &path).await;
    assert_eq!(kept.len(), 20);
    assert_eq!(kept[1].reference, saved.reference);
    assert_eq!(
        kept[2].reference,
        "refs/roost/wip/other/20240102T003900.000Z"
    );
    run(&session, "git rev-parse --verify refs/roost/wip/other/mine").await;
}

#[tokio::test]
async fn the_timer_saves_what_has_changed() {
    let script = format!(
        "{REPOSITORY}; git config filter.nice.clean 'nice > ../../nice; cat'; \
         echo 'a filter=nice' > .git/info/attributes"
    );
    let (world, session) = start_with(&["--wip-interval-ms", "20"], &script).await;
    let path = world.text("demo");
    let saved = |content: &'static str| {
        let (session, path) = (session.clone(), path.clone());
        async move {
            let saved = list(&session, &path).await;
            let newest = saved.first()?.reference.clone();
            let shown = run(&session, &format!("git show {newest}:a")).await;
            (shown == content).then_some(saved)
        }
    };
    // At once: a file that is empty for a moment would be saved too.
    run(&session, "echo first > ../../new; mv ../../new a").await;
    let first = until("the first", || saved("first\n")).await;
    assert_eq!(first[0].reason, "timer");
    assert_eq!(run(&session, "cat ../../nice").await, "19\n");
    run(&session, "echo second > ../../new; mv ../../new a").await;
    // Nothing in between, though there was time for it.
    assert_eq!(
        until("the second", || saved("second\n")).await.len(),
        first.len() + 1
    );
}

#[tokio::test]
async fn a_stop_saves_first_and_waits_for_none_that_is_stuck() {
    let stuck = format!(
        "mkdir stuck; cd stuck; {REPOSITORY}; git config filter.stuck.clean 'sleep 1000'; \
         echo 'a filter=stuck' > .git/info/attributes; echo 5 > a; cd .."
    );
    let script =
        format!("{stuck}; mkdir work; cd work; {REPOSITORY}; echo last > a; touch .git/index.lock");
    let (mut world, _session) = start(&script).await;
    let host = world.session(Role::Host).await;
    host.shutdown(20_000).await.unwrap();
    assert!(world.agent_ends());
    let git = |arguments: &[&str]| {
        let output = std::process::Command::new("git")
            .args(arguments)
            .current_dir(world.path("demo/work"))
            .output()
            .unwrap();
        String::from_utf8(output.stdout).unwrap()
    };
    let reference = git(&["for-each-ref", "--format=%(refname)", "refs/roost/wip"]);
    assert_eq!(git(&["show", &format!("{}:a", reference.trim())]), "last\n");
}
