//! `ship`, `prove` and `status --probe`: readers that lost an identity, hold one too many, or do not answer.

use crate::support::Sandbox;
use crate::support::ground::{Ground, identities, private};
use cofferdam::ledger::Holder;
use serde_json::Value;

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap()
}

fn of<'a>(rows: &'a Value, reader: &str) -> &'a Value {
    let rows = rows.as_array().unwrap();
    rows.iter().find(|row| row["reader"] == reader).unwrap()
}

#[test]
fn a_rebuilt_host_is_found_served_and_proven() {
    let sandbox = Sandbox::in_memory();
    let ground = Ground::small(&sandbox);
    ground.run(&["split", "--yes"]).expect_code(0);
    let proofs = json(&ground.run(&["prove", "--json"]).expect_code(0).stdout);
    assert_eq!(proofs.as_array().unwrap().len(), 4);
    for reader in ["kasm", "nvr", "racknerd-aegis", "minipcs"] {
        let proof = of(&proofs, reader);
        assert_eq!(proof["opens"].as_array().unwrap().len(), 1, "{proof}");
        // Two other zones, the retired one, operator and recovery.
        assert_eq!(proof["others"], 5, "{proof}");
    }
    ground.run(&["status", "--probe"]).expect_code(0);

    let whole = ground.first();
    // Built anew: its file is gone.
    let file = ground.host_file("kasm");
    let served = std::fs::read_to_string(&file).unwrap();
    std::fs::remove_file(&file).unwrap();
    let first = ground.first();
    let ran = ground.run(&["prove"]).expect_code(5);
    assert!(
        ran.stdout
            .contains("kasm cannot open what is wrapped to lan-"),
        "{}",
        ran.stdout
    );
    assert!(
        ran.stderr.contains("no proof from kasm\n"),
        "{}",
        ran.stderr
    );
    assert!(ran.stderr.contains("cofferdam ship HOST"), "{}", ran.stderr);
    ground.run(&["prove", "nvr", "minipcs"]).expect_code(0);
    let ran = ground.run(&["status", "--probe", "--json"]).expect_code(3);
    let status = json(&ran.stdout);
    assert_eq!(of(&status["readers"], "kasm")["probe"], "not as it should");
    assert_eq!(of(&status["readers"], "nvr")["probe"], "as it should");
    assert_eq!(of(&status["readers"], "nvr")["phase"], "active");
    // Without --probe nobody is asked.
    ground.run(&["status"]).expect_code(0);
    ground.expect_first(&first, "asking changes nothing");

    let ran = ground.run(&["ship", "kasm"]).expect_code(0);
    assert!(
        ran.stdout.contains("kasm") && ran.stdout.contains("delivered"),
        "{}",
        ran.stdout
    );
    assert_eq!(ran.stdout.lines().count(), 1, "{}", ran.stdout);
    let zone = ground
        .ledger()
        .live(&Holder::Zone("lan".to_owned()))
        .unwrap()
        .recipient
        .clone();
    assert_eq!(identities(&file).recipients(), [zone]);
    ground.run(&["prove"]).expect_code(0);
    // A second time there is nothing to do, and nothing else changed.
    let again = json(&ground.run(&["ship", "--json"]).expect_code(0).stdout);
    for row in again.as_array().unwrap() {
        assert!(
            row["done"].as_str().unwrap().ends_with("was there"),
            "{row}"
        );
    }
    // Put back by hand as it was, nothing differs: no document, no ledger, no other reader was touched.
    private(&file, &served, 0o400);
    std::fs::set_permissions(
        file.parent().unwrap(),
        std::os::unix::fs::PermissionsExt::from_mode(0o700),
    )
    .unwrap();
    ground.expect_first(&whole, "only the one file");
}

#[test]
fn what_a_host_holds_beside_its_own_is_named() {
    let sandbox = Sandbox::in_memory();
    let ground = Ground::small(&sandbox);
    ground.run(&["split", "--yes"]).expect_code(0);
    // Restored from a backup of before the split: the retired identity is back, and its own is missing.
    let shared = std::fs::read_to_string(ground.folder.join("shared.txt")).unwrap();
    private(&ground.host_file("nvr"), &shared, 0o400);
    // Somebody copied another zone's.
    let lan = std::fs::read_to_string(ground.host_file("kasm")).unwrap();
    let vps = std::fs::read_to_string(ground.host_file("racknerd-aegis")).unwrap();
    private(
        &ground.host_file("racknerd-aegis"),
        &format!("{vps}{lan}"),
        0o400,
    );
    // And one is gone.
    std::fs::remove_dir_all(ground.folder.join("targets/kasm")).unwrap();
    let ran = ground.run(&["prove"]).expect_code(5);
    for wanted in [
        "nvr cannot open what is wrapped to lan-",
        "nvr opens what is wrapped to shared",
        "racknerd-aegis opens what is wrapped to lan-",
        "which it must not hold",
        "kasm cannot be reached",
    ] {
        let told = ran.stdout.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(told.contains(wanted), "{wanted}: {}", ran.stdout);
    }
    assert!(
        ran.stderr
            .contains("no proof from kasm, nvr, racknerd-aegis\n"),
        "{}",
        ran.stderr
    );
    let ran = ground.run(&["status", "--probe"]).expect_code(3);
    assert!(ran.stdout.contains("unreachable"), "{}", ran.stdout);
    // The others are served although one is gone; what must not be there stays until somebody takes it away.
    let ran = ground.run(&["ship"]).expect_code(5);
    assert!(
        ran.stderr.contains("not delivered to kasm\n"),
        "{}",
        ran.stderr
    );
    assert_eq!(identities(&ground.host_file("nvr")).recipients().len(), 2);
    let again = ground.run(&["prove", "nvr"]).expect_code(5);
    assert!(!again.stdout.contains("cannot open"), "{}", again.stdout);
}

#[test]
fn bad_input_is_refused_before_any_act() {
    let sandbox = Sandbox::in_memory();
    let ground = Ground::small(&sandbox);
    ground.run(&["split", "--yes"]).expect_code(0);
    for command in ["ship", "prove"] {
        let ran = ground.run(&[command, "nvr", "kasn"]).expect_code(2);
        assert!(
            ran.stderr.contains("no host and no cluster \"kasn\""),
            "{}",
            ran.stderr
        );
        assert!(ran.stderr.contains("did you mean kasm?"), "{}", ran.stderr);
    }
    // Somebody who can unseal nothing.
    std::fs::remove_file(ground.host_file("kasm")).unwrap();
    let ran = ground.command_with("shared.txt", &["ship"]);
    let ran = crate::support::Ran::of(&mut { ran }).expect_code(1);
    assert!(
        ran.stderr
            .contains("cannot be unsealed with the identities at hand"),
        "{}",
        ran.stderr
    );
    assert!(!ground.host_file("kasm").exists());
    // A sealed file that somebody swapped for another zone's.
    let sealed = ground.repository().join(".cofferdam/sealed");
    let files = |zone: &str| {
        let mut files: Vec<_> = std::fs::read_dir(&sealed)
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .filter(|path| {
                path.file_name()
                    .unwrap()
                    .to_str()
                    .unwrap()
                    .starts_with(zone)
            })
            .collect();
        files.sort();
        files
    };
    for (lan, vps) in files("lan-").iter().zip(files("vps-")) {
        std::fs::copy(vps, lan).unwrap();
    }
    let ran = ground.command_with("laptop.txt", &["ship", "kasm"]);
    let ran = crate::support::Ran::of(&mut { ran }).expect_code(1);
    assert!(ran.stderr.contains("cannot be unsealed"), "{}", ran.stderr);
    assert!(!ground.host_file("kasm").exists());
    ground.git(&["checkout", "-q", "--", "."]);
    ground.run(&["ship", "kasm"]).expect_code(0);
    let zone = ground
        .ledger()
        .live(&Holder::Zone("lan".to_owned()))
        .unwrap()
        .recipient
        .clone();
    assert_eq!(identities(&ground.host_file("kasm")).recipients(), [zone]);
    // In the middle of a run the run itself delivers.
    ground
        .run(&["rotate", "lan", "--yes", "--hold-at", "prove"])
        .expect_code(0);
    let ran = ground.run(&["ship"]).expect_code(5);
    assert!(ran.stderr.contains("cofferdam resume"), "{}", ran.stderr);
    let ran = ground.run(&["status"]).expect_code(3);
    assert!(
        ran.stdout.contains("undo ends once old identities leave"),
        "{}",
        ran.stdout
    );
    assert!(ran.stdout.contains("shipped"), "{}", ran.stdout);
    // Whoever asks meanwhile blames nobody for what is under way.
    ground.run(&["prove"]).expect_code(0);
    ground.run(&["undo", "--yes"]).expect_code(0);
    ground.run(&["prove"]).expect_code(0);
}
