//! Sources of keys besides the provider: a file, and the directory where an earlier run stored
//! them. Also what is sent along with a fetch.

use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown, symlink};
use std::path::Path;
use std::time::Duration;

use claimgate::dev::signer::Signer;
use claimgate::keyring::Algorithm::Es256;
use claimgate::keyring::ProviderId;
use serde_json::json;
use tokio::time::sleep;

use crate::support::gate::{Gate, NOW, provider, token};
use crate::support::issuer::{DISCOVERY, Issuer, JWKS, Reply};
use crate::support::keys::signer;
use crate::support::log::Log;

const DAY: u64 = 86_400;

const fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// Repeats a check until it holds, which must be soon.
async fn until(holds: impl Fn() -> bool) {
    for _ in 0..1000 {
        if holds() {
            return;
        }
        sleep(Duration::from_millis(100)).await;
    }
    panic!("it never came true");
}

fn chmod(path: &Path, mode: u32) {
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
}

fn kept(directory: &Path) -> std::path::PathBuf {
    directory.join("acme.jwks.json")
}

/// A run fetches and stores the keys of an issuer. Then the issuer is down.
async fn after_a_run(key: &Signer, directory: &Path) -> (Issuer, String) {
    let issuer = Issuer::start(&[key]).await;
    let more = format!("refresh: {{ cache_dir: {} }}", directory.display());
    let gate = Gate::trusting(&issuer, &more).await;
    until(|| kept(directory).exists()).await;
    drop(gate);
    issuer.reply(DISCOVERY, Reply::status(503));
    issuer.reply(JWKS, Reply::status(503));
    let yaml = provider(&issuer, "acme", &more);
    (issuer, yaml)
}

#[tokio::test(start_paused = true)]
async fn a_restart_can_do_without_the_issuer() {
    let (key, new) = (signer(Es256, "real"), signer(Es256, "new"));
    let directory = tempfile::tempdir().unwrap();
    let (issuer, yaml) = after_a_run(&key, directory.path()).await;

    let gate = Gate::start_at(&yaml, NOW + 3600).await;
    assert!(
        gate.service.gate.generation().jwks.awaited().is_empty(),
        "ready at once"
    );
    let good = token(&issuer, &key);
    gate.clock.set(NOW);
    assert!(gate.check(&good).await.is_allow());
    let age = gate.metric("claimgate_jwks_age_seconds{provider=\"acme\"}");
    assert!(age.starts_with("3600"), "{age}");
    assert_eq!(gate.metric("claimgate_jwks_stale{provider=\"acme\"}"), "1");
    // If a key cannot be looked up, there is no verdict about the token.
    assert_eq!(gate.check(&token(&issuer, &new)).await.status(), 503);

    // When the issuer is back, its response counts.
    let url = issuer.url();
    let metadata = json!({"issuer": url, "jwks_uri": format!("{url}{JWKS}")});
    issuer.reply(DISCOVERY, Reply::json(&metadata));
    issuer.publish(&[&new]);
    sleep(secs(60)).await;
    assert!(gate.check(&token(&issuer, &new)).await.is_allow());
    assert_eq!(gate.check(&good).await.status(), 401);
    assert_eq!(gate.metric("claimgate_jwks_stale{provider=\"acme\"}"), "0");
}

#[tokio::test(start_paused = true)]
async fn kept_keys_grow_too_old() {
    let key = signer(Es256, "real");
    let directory = tempfile::tempdir().unwrap();
    let (issuer, yaml) = after_a_run(&key, directory.path()).await;
    for (later, expected) in [(0, 200), (DAY - 10, 200), (DAY, 503), (30 * DAY, 503)] {
        let gate = Gate::start_at(&yaml, NOW + later).await;
        gate.clock.set(NOW);
        let answer = gate.check(&token(&issuer, &key)).await;
        let status = answer.status();
        assert_eq!(status, expected, "after {later} s");
        if expected == 200 {
            // The keys keep ageing while the service runs.
            sleep(secs(DAY - later + 1)).await;
            assert_eq!(gate.check(&token(&issuer, &key)).await.status(), 503);
        }
        let denial = gate.service.gate.denials.newest().next().unwrap();
        let hint = denial.hint.as_ref().unwrap();
        let stored = format!(
            "the stored keys are not used: `{}`: its keys are {later} s old, more than \
             `refresh.max_stale` (86400 s)",
            kept(directory.path()).display()
        );
        assert_eq!(hint.contains(&stored), expected == 503, "{hint}");
        let jwks = &gate.service.gate.generation().jwks;
        let report = jwks.report(ProviderId(0)).unwrap();
        assert_eq!(report.stored.is_some(), expected == 503);
    }
}

#[tokio::test(start_paused = true)]
async fn keys_that_have_not_changed_are_kept_as_new() {
    let key = signer(Es256, "real");
    let directory = tempfile::tempdir().unwrap();
    let issuer = Issuer::start(&[&key]).await;
    let keys = Reply::json(&json!({"keys": [key.jwk()]})).header("etag: \"one\"");
    issuer.reply(JWKS, keys);
    let more = format!(
        "refresh: {{ min: 10s, max: 10s, cache_dir: {} }}",
        directory.path().display()
    );
    let gate = Gate::trusting(&issuer, &more).await;
    until(|| kept(directory.path()).exists()).await;
    issuer.reply(JWKS, Reply::status(304));
    gate.clock.set(NOW + 5000);
    until(|| {
        let text = std::fs::read_to_string(kept(directory.path())).unwrap();
        text.contains(&format!("\"fetched\":{}", NOW + 5000)) && text.contains("real")
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn useless_stored_keys_are_ignored() {
    let key = signer(Es256, "real");
    let directory = tempfile::tempdir().unwrap();
    let (issuer, yaml) = after_a_run(&key, directory.path()).await;
    let file = kept(directory.path());
    let whole = std::fs::read_to_string(&file).unwrap();
    let good = token(&issuer, &key);
    for (what, text) in [
        ("nothing", String::new()),
        ("half of it", whole[..whole.len() / 2].to_owned()),
        ("something else", "{}".to_owned()),
        (
            "another issuer's",
            whole.replace(&issuer.url(), "https://evil.example"),
        ),
        ("no usable key", whole.replace("P-256", "P-999")),
        (
            "too much",
            format!("{whole}{}", " ".repeat(3 * 1024 * 1024)),
        ),
    ] {
        std::fs::write(&file, text).unwrap();
        let gate = Gate::start(&yaml).await;
        assert_eq!(gate.check(&good).await.status(), 503, "{what}");
    }
    std::fs::write(&file, &whole).unwrap();
    assert!(Gate::start(&yaml).await.check(&good).await.is_allow());
}

/// A file that another user could have written is not read, and the log says why. Both the file and
/// the directory in which it could be replaced are checked.
#[tokio::test(start_paused = true)]
async fn stored_keys_that_others_can_write_are_not_used() {
    let key = signer(Es256, "real");
    let as_root = std::fs::metadata("/proc/self").unwrap().uid() == 0;
    for (what, change, expected) in [
        ("nothing", (|_| {}) as fn(&Path), ""),
        ("a readable file", |dir| chmod(&kept(dir), 0o644), ""),
        ("a readable directory", |dir| chmod(dir, 0o755), ""),
        // Others can add files there, but cannot replace ours.
        ("a sticky directory", |dir| chmod(dir, 0o1777), ""),
        (
            "a file for all",
            |dir| chmod(&kept(dir), 0o666),
            "its mode 0666 lets others write",
        ),
        (
            "a file for the group",
            |dir| chmod(&kept(dir), 0o660),
            "its mode 0660 lets others write",
        ),
        (
            "a directory for all",
            |dir| chmod(dir, 0o777),
            "its directory: its mode 0777 lets others write",
        ),
        (
            "a directory for the group",
            |dir| chmod(dir, 0o775),
            "its directory: its mode 0775 lets others write",
        ),
        (
            "a link to a good file",
            |dir| {
                std::fs::rename(kept(dir), dir.join("real")).unwrap();
                symlink("real", kept(dir)).unwrap();
            },
            "it is a link",
        ),
        (
            "a link to nowhere",
            |dir| {
                std::fs::remove_file(kept(dir)).unwrap();
                symlink("nowhere", kept(dir)).unwrap();
            },
            "it is a link",
        ),
        (
            "a directory for a file",
            |dir| {
                std::fs::remove_file(kept(dir)).unwrap();
                std::fs::create_dir(kept(dir)).unwrap();
            },
            "not a regular file",
        ),
        (
            "a pipe for a file",
            |dir| {
                std::fs::remove_file(kept(dir)).unwrap();
                let made = std::process::Command::new("mkfifo").arg(kept(dir)).status();
                assert!(made.unwrap().success());
            },
            "not a regular file",
        ),
        (
            "another user's file",
            |dir| chown(kept(dir), Some(65_534), None).unwrap(),
            "it belongs to user 65534",
        ),
        (
            "another user's directory",
            |dir| chown(dir, Some(65_534), None).unwrap(),
            "its directory: it belongs to user 65534",
        ),
    ] {
        if expected.contains("belongs to") && !as_root {
            // Only root can change the owner of a file; `who_can_write` tests the rule.
            continue;
        }
        let directory = tempfile::tempdir().unwrap();
        let (issuer, yaml) = after_a_run(&key, directory.path()).await;
        change(directory.path());
        let log = Log::start("info");
        let gate = Gate::start(&yaml).await;
        let status = gate.check(&token(&issuer, &key)).await.status();
        let log = log.text();
        match expected {
            "" => assert_eq!(status, 200, "{what}: {log}"),
            why => {
                assert_eq!(status, 503, "{what}");
                assert!(log.contains("stored keys are not used"), "{what}: {log}");
                assert!(log.contains(why), "{what}: {log}");
            }
        }
    }
}

/// A symbolic link to a directory is followed.
#[tokio::test(start_paused = true)]
async fn a_linked_directory_is_followed() {
    let key = signer(Es256, "real");
    let directory = tempfile::tempdir().unwrap();
    let (real, link) = (directory.path().join("real"), directory.path().join("link"));
    symlink(&real, &link).unwrap();
    std::fs::create_dir(&real).unwrap();
    chmod(&real, 0o700);
    let (issuer, yaml) = after_a_run(&key, &link).await;
    let gate = Gate::start(&yaml).await;
    assert!(gate.check(&token(&issuer, &key)).await.is_allow());
    chmod(&real, 0o777);
    let gate = Gate::start(&yaml).await;
    assert_eq!(gate.check(&token(&issuer, &key)).await.status(), 503);
}

/// Keys that would not be read later are not written either, so the operator notices before they
/// are needed.
#[tokio::test(start_paused = true)]
async fn nothing_is_stored_where_others_can_write() {
    let key = signer(Es256, "real");
    let directory = tempfile::tempdir().unwrap();
    chmod(directory.path(), 0o777);
    let issuer = Issuer::start(&[&key]).await;
    let log = Log::start("info");
    let more = format!("refresh: {{ cache_dir: {} }}", directory.path().display());
    let _gate = Gate::trusting(&issuer, &more).await;
    until(|| log.text().contains("cannot store the keys")).await;
    let log = log.text();
    assert!(log.contains("its mode 0777 lets others write"), "{log}");
    assert!(log.contains("`cache_dir`"), "{log}");
    assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 0);

    // claimgate owns what it creates itself, so another user's link or file is not in the way.
    let own = directory.path().join("keys");
    let more = format!("refresh: {{ cache_dir: {} }}", own.display());
    let _gate = Gate::trusting(&issuer, &more).await;
    until(|| kept(&own).exists()).await;
    assert_eq!(std::fs::metadata(&own).unwrap().mode() & 0o7777, 0o700);
}

/// A link in place of the file is replaced, and its target is unchanged.
#[tokio::test(start_paused = true)]
async fn writing_follows_no_link() {
    let key = signer(Es256, "real");
    let directory = tempfile::tempdir().unwrap();
    let victim = directory.path().join("victim");
    std::fs::write(&victim, "precious").unwrap();
    symlink(&victim, kept(directory.path())).unwrap();
    let issuer = Issuer::start(&[&key]).await;
    let more = format!("refresh: {{ cache_dir: {} }}", directory.path().display());
    let _gate = Gate::trusting(&issuer, &more).await;
    until(|| !kept(directory.path()).is_symlink()).await;
    assert_eq!(std::fs::read_to_string(&victim).unwrap(), "precious");
    assert_eq!(
        std::fs::metadata(kept(directory.path())).unwrap().mode() & 0o7777,
        0o600
    );
}

/// Only fetched and usable keys are stored, readable by nobody else, without leftovers.
#[tokio::test(start_paused = true)]
async fn useless_keys_are_not_kept() {
    let key = signer(Es256, "real");
    let directory = tempfile::tempdir().unwrap();
    let issuer = Issuer::start(&[&key]).await;
    let more = format!(
        "refresh: {{ min: 10s, max: 10s, cache_dir: {} }}",
        directory.path().display()
    );
    let _gate = Gate::trusting(&issuer, &more).await;
    let file = kept(directory.path());
    until(|| file.exists()).await;
    let before = std::fs::read_to_string(&file).unwrap();
    let asked = issuer.asked(JWKS);
    issuer.reply(JWKS, Reply::json(&json!({"keys": []})));
    issuer.asked_at_least(JWKS, asked + 3).await;
    sleep(secs(1)).await;
    assert_eq!(std::fs::read_to_string(&file).unwrap(), before);
    let mode = std::fs::metadata(&file).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 1);
}

/// A directory that is not writable affects the next run, not this one.
#[tokio::test(start_paused = true)]
async fn a_full_disk_stops_nothing() {
    let key = signer(Es256, "real");
    let issuer = Issuer::start(&[&key]).await;
    let gate = Gate::trusting(
        &issuer,
        "refresh: { min: 10s, max: 10s, cache_dir: /dev/null/keys }",
    )
    .await;
    assert!(gate.check(&token(&issuer, &key)).await.is_allow());
    issuer.asked_at_least(JWKS, 3).await;
    assert!(gate.check(&token(&issuer, &key)).await.is_allow());
}

#[tokio::test(start_paused = true)]
async fn a_file_is_watched() {
    let (old, new) = (signer(Es256, "old"), signer(Es256, "new"));
    let directory = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| {
        let path = directory.path().join(name);
        std::fs::write(&path, text).unwrap();
        path
    };
    let set = |key: &Signer| json!({"keys": [key.jwk()]}).to_string();
    let nobody = Issuer::start(&[]).await;

    // Kubernetes mounts a ConfigMap like this: the file is a link through another link, which is
    // replaced.
    let data = directory.path().join("..data");
    std::fs::create_dir(directory.path().join("v1")).unwrap();
    std::fs::create_dir(directory.path().join("v2")).unwrap();
    write("v1/jwks.json", &set(&old));
    write("v2/jwks.json", &set(&new));
    symlink("v1", &data).unwrap();
    let file = directory.path().join("jwks.json");
    symlink("..data/jwks.json", &file).unwrap();
    let more = format!(
        "refresh: {{ min: 1h, max: 1h }}, jwks: {{ file: {} }}",
        file.display()
    );
    let gate = Gate::start(&provider(&nobody, "acme", &more)).await;
    assert!(gate.check(&token(&nobody, &old)).await.is_allow());

    let next = directory.path().join("..next");
    symlink("v2", &next).unwrap();
    std::fs::rename(&next, &data).unwrap();
    sleep(secs(2)).await;
    assert!(gate.check(&token(&nobody, &new)).await.is_allow());
    assert_eq!(gate.check(&token(&nobody, &old)).await.status(), 401);

    // A file that is missing, or only partly written, changes nothing until it is complete.
    for text in ["", "{\"keys\": [", "{\"keys\": []}"] {
        write("v2/jwks.json", text);
        sleep(secs(5)).await;
        assert!(gate.check(&token(&nobody, &new)).await.is_allow(), "{text}");
    }
    std::fs::remove_file(directory.path().join("v2/jwks.json")).unwrap();
    sleep(secs(5)).await;
    assert!(gate.check(&token(&nobody, &new)).await.is_allow());
    write("v2/jwks.json", &set(&old));
    sleep(secs(2)).await;
    assert!(gate.check(&token(&nobody, &old)).await.is_allow());
    assert_eq!(nobody.asked(DISCOVERY), 0);
}

#[tokio::test(start_paused = true)]
async fn a_bearer_token_is_sent_where_the_operator_said() {
    let key = signer(Es256, "real");
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("token");
    std::fs::write(&file, "first\n").unwrap();
    let (issuer, elsewhere) = (Issuer::start(&[&key]).await, Issuer::start(&[&key]).await);
    let more = format!(
        "fetch: {{ bearer_token_file: {} }}, refresh: {{ min: 10s, max: 10s }}",
        file.display()
    );
    let gate = Gate::trusting(&issuer, &more).await;
    for path in [DISCOVERY, JWKS] {
        assert!(
            issuer
                .head(path)
                .contains("authorization: Bearer first\r\n")
        );
    }

    // The file is read again for each request.
    std::fs::write(&file, "second").unwrap();
    sleep(secs(15)).await;
    assert!(
        issuer
            .head(JWKS)
            .contains("authorization: Bearer second\r\n")
    );

    // A URL from the metadata does not receive our token.
    let metadata =
        json!({"issuer": issuer.url(), "jwks_uri": format!("{}{JWKS}", elsewhere.url())});
    issuer.reply(DISCOVERY, Reply::json(&metadata));
    elsewhere.asked_at_least(JWKS, 1).await;
    assert!(!elsewhere.head(JWKS).contains("authorization"));

    // Without the token no request is sent, and the known keys stay.
    let metadata = json!({"issuer": issuer.url(), "jwks_uri": format!("{}{JWKS}", issuer.url())});
    issuer.reply(DISCOVERY, Reply::json(&metadata));
    sleep(secs(30)).await;
    std::fs::write(&file, "two words").unwrap();
    sleep(secs(15)).await;
    let asked = (issuer.asked(DISCOVERY), issuer.asked(JWKS));
    sleep(secs(30)).await;
    assert_eq!((issuer.asked(DISCOVERY), issuer.asked(JWKS)), asked);
    assert!(gate.check(&token(&issuer, &key)).await.is_allow());
    let error = gate.error().unwrap();
    assert!(
        error.contains("does not contain exactly one token"),
        "{error}"
    );
    assert!(!error.contains("two words"), "{error}");
}

/// Entra ID's metadata for all tenants names its issuer by a template, and so do its keys.
#[tokio::test(start_paused = true)]
async fn metadata_may_name_a_template() {
    let key = signer(Es256, "real");
    let issuer = Issuer::start(&[]).await;
    let template = "https://login.example.com/{tenantid}/v2.0";
    let tenant = "8c1f6d2e-3b47-4a59-9e0d-5f7a2b6c4d10";
    let mut jwk = key.jwk();
    jwk["issuer"] = template.into();
    issuer.reply(JWKS, Reply::json(&json!({"keys": [jwk]})));
    let url = issuer.url();
    let yaml = format!(
        "providers: [{{ name: entra, issuer: '{template}', audiences: [orders-api], tenants: [{tenant}], \
         discovery_url: '{url}{DISCOVERY}' }}]"
    );
    for (named, expected) in [
        (template.to_owned(), 200),
        (template.replace("{tenantid}", tenant), 503),
        (template.replace("{tenantid}", "common"), 503),
    ] {
        let metadata = json!({"issuer": named, "jwks_uri": format!("{url}{JWKS}")});
        issuer.reply(DISCOVERY, Reply::json(&metadata));
        let gate = Gate::start(&yaml).await;
        sleep(secs(1)).await;
        let claims = json!({
            "iss": template.replace("{tenantid}", tenant), "tid": tenant,
            "aud": "orders-api", "exp": NOW + 60,
        });
        let answer = gate.check(&key.token(&claims).unwrap()).await;
        let status = answer.status();
        assert_eq!(status, expected, "{named}");
    }
}

/// Reading a pipe may wait forever for a writer, so pipes are not read.
#[tokio::test(start_paused = true)]
async fn a_pipe_in_place_of_a_file_blocks_nothing() {
    let (key, other) = (signer(Es256, "real"), signer(Es256, "other"));
    let directory = tempfile::tempdir().unwrap();
    let pipe = directory.path().join("pipe");
    let made = std::process::Command::new("mkfifo").arg(&pipe).status();
    assert!(made.unwrap().success());
    let issuer = Issuer::start(&[&key]).await;
    let well = Issuer::start(&[&other]).await;
    let pipe = pipe.display();
    for more in [
        format!("jwks: {{ file: {pipe} }}"),
        format!("fetch: {{ bearer_token_file: {pipe} }}"),
        format!("fetch: {{ ca_file: {pipe} }}"),
    ] {
        let (ill, well_too) = (provider(&issuer, "ill", &more), provider(&well, "well", ""));
        let yaml = format!("{ill}{}", well_too.strip_prefix("providers:\n").unwrap());
        let gate = Gate::start(&yaml).await;
        well.asked_at_least(JWKS, 1).await;
        sleep(secs(30)).await;
        assert!(gate.check(&token(&well, &other)).await.is_allow(), "{more}");
        assert_eq!(
            gate.check(&token(&issuer, &key)).await.status(),
            503,
            "{more}"
        );
        let error = gate.error().unwrap();
        assert!(error.contains("not a regular file"), "{more}: {error}");
    }
}

/// If a pipe is replaced by a regular file, the file is read.
#[tokio::test(start_paused = true)]
async fn a_restored_file_is_read() {
    let (old, new) = (signer(Es256, "old"), signer(Es256, "new"));
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("jwks.json");
    let set = |key: &Signer| json!({"keys": [key.jwk()]}).to_string();
    std::fs::write(&file, set(&old)).unwrap();
    let nobody = Issuer::start(&[]).await;
    let more = format!("jwks: {{ file: {} }}", file.display());
    let gate = Gate::start(&provider(&nobody, "acme", &more)).await;
    std::fs::remove_file(&file).unwrap();
    let made = std::process::Command::new("mkfifo").arg(&file).status();
    assert!(made.unwrap().success());
    sleep(secs(5)).await;
    assert!(gate.check(&token(&nobody, &old)).await.is_allow());
    std::fs::remove_file(&file).unwrap();
    std::fs::write(&file, set(&new)).unwrap();
    sleep(secs(2)).await;
    assert!(gate.check(&token(&nobody, &new)).await.is_allow());
}

/// Withdrawn keys are trusted for `max_stale`, whatever prevents fetching.
#[tokio::test(start_paused = true)]
async fn keys_grow_too_old_without_a_bearer_token_too() {
    let key = signer(Es256, "real");
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("token");
    std::fs::write(&file, "first").unwrap();
    let issuer = Issuer::start(&[&key]).await;
    let more = format!(
        "fetch: {{ bearer_token_file: {} }}, refresh: {{ min: 1s, max: 1s, max_stale: 20s }}",
        file.display()
    );
    let gate = Gate::trusting(&issuer, &more).await;
    std::fs::remove_file(&file).unwrap();
    let made = std::process::Command::new("mkfifo").arg(&file).status();
    assert!(made.unwrap().success());
    sleep(secs(15)).await;
    assert!(gate.check(&token(&issuer, &key)).await.is_allow());
    sleep(secs(10)).await;
    assert_eq!(gate.check(&token(&issuer, &key)).await.status(), 503);
}

/// A clock that was ahead when keys were stored does not keep them young forever.
#[tokio::test(start_paused = true)]
async fn keys_from_the_future_are_not_used() {
    let key = signer(Es256, "real");
    let directory = tempfile::tempdir().unwrap();
    let (issuer, yaml) = after_a_run(&key, directory.path()).await;
    for (earlier, expected) in [(0, 200), (299, 200), (301, 503), (365 * DAY, 503)] {
        let gate = Gate::start_at(&yaml, NOW - earlier).await;
        gate.clock.set(NOW);
        let answer = gate.check(&token(&issuer, &key)).await;
        let status = answer.status();
        assert_eq!(status, expected, "{earlier} s earlier");
    }
}

/// All threads that work on files are busy, so the disk seems to hang.
#[test]
fn a_hanging_disk_delays_only_its_own_work() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .max_blocking_threads(1)
        .enable_all()
        .build()
        .unwrap();
    let (free, busy) = std::sync::mpsc::channel::<()>();
    let found = runtime.block_on(async move {
        let (old, new) = (signer(Es256, "old"), signer(Es256, "new"));
        let directory = tempfile::tempdir().unwrap();
        let issuer = Issuer::start(&[&old]).await;
        let more = format!(
            "refresh: {{ cache_dir: {}, unknown_key_wait: 1500ms }}",
            directory.path().display()
        );
        let gate = Gate::trusting(&issuer, &more).await;
        until(|| kept(directory.path()).exists()).await;
        tokio::task::spawn_blocking(move || busy.recv());
        issuer.publish(&[&new]);
        gate.check(&token(&issuer, &new)).await
    });
    drop(free);
    assert!(found.is_allow());
}
