//! `[publish]` with `canary` and `order`: commands, evidence and retirement go wave by wave.

use crate::support::Sandbox;
use crate::support::ground::{Ground, recipient};

const PUBLISH: &str = r#"
[publish]
canary = "kasm"
order = ["lan", "vps"]
run = ["echo \"$COFFERDAM_WAVE: $COFFERDAM_READERS\" >> ../log"]
ready = [
  "echo \"$COFFERDAM_WAVE is asked\" >> ../log; test ! -e ../not-$COFFERDAM_WAVE",
  "test ! -e ../stop || test $COFFERDAM_WAVE != canary || test $(grep -c ^AGE- ../targets/kasm/etc/sops/age/keys.txt) != 1",
]
"#;

fn log(ground: &Ground<'_>) -> Vec<String> {
    let file = ground.folder.join("log");
    let text = std::fs::read_to_string(&file).unwrap();
    std::fs::remove_file(file).unwrap();
    text.lines().map(str::to_owned).collect()
}

#[test]
fn readers_go_wave_by_wave() {
    let sandbox = Sandbox::in_memory();
    let before = Ground::small(&sandbox);
    let toml = before.repository().join("cofferdam.toml");
    let text = std::fs::read_to_string(&toml).unwrap();
    std::fs::write(&toml, format!("{text}{PUBLISH}")).unwrap();
    let ground = before.copy("waves");
    let first = ground.first();
    let flag = |name: &str| ground.folder.join(name);

    // The second wave is not there: the third is not told, and nothing is retired.
    std::fs::write(flag("not-lan"), "").unwrap();
    let stopped = ground.run(&["split", "--yes"]).expect_code(5);
    assert!(
        stopped.stderr.contains("readers are not there yet"),
        "{}",
        stopped.stderr
    );
    assert_eq!(
        log(&ground),
        [
            "canary: kasm",
            "canary is asked",
            "lan: nvr",
            "lan is asked"
        ]
    );
    ground.expect_nothing_retired("the second wave");
    ground.expect_readable("the second wave");
    // Until all waves run it there is a way back.
    let back = ground.copy("waves-back");
    back.run(&["undo", "--yes"]).expect_code(0);
    back.expect_first(&first, "undone in the second wave");

    // What a wave was asked is remembered.
    std::fs::remove_file(flag("not-lan")).unwrap();
    ground
        .run(&["resume", "--hold-at", "retire"])
        .expect_code(0);
    assert_eq!(
        log(&ground),
        [
            "lan is asked",
            "vps: racknerd-aegis",
            "vps is asked",
            "rest: minipcs"
        ]
    );
    ground.expect_nothing_retired("held");

    // The canary has lost the old identity and is not well: nobody else loses it.
    std::fs::write(flag("stop"), "").unwrap();
    ground.run(&["resume"]).expect_code(5);
    let shared = recipient(&ground.folder.join("shared.txt"));
    for (reader, _, held) in ground.readers() {
        assert_eq!(held.holds(&shared), reader != "kasm", "{reader}");
    }
    ground.expect_readable("the canary is not well");
    ground.run(&["undo", "--yes"]).expect_code(1);
    std::fs::remove_file(flag("stop")).unwrap();
    ground.run(&["resume"]).expect_code(0);
    ground.expect_finished(&before, "waves");
}
