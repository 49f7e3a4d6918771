//! `cofferdam redact`: no value of a document passes, in whatever form and however the text is cut.

#![cfg(target_os = "linux")]

use std::io::{Read, Write};
use std::process::{Command, Stdio};

use crate::support::Ran;
use crate::support::runtime::Stack;
use base64::Engine;

/// Feeds `text` in pieces of `cut` bytes.
fn filtered(command: &mut Command, text: &[u8], cut: usize) -> (Option<i32>, String, String) {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let text = text.to_owned();
    let writer = std::thread::spawn(move || {
        for piece in text.chunks(cut) {
            // One that refuses reads nothing.
            if stdin.write_all(piece).is_err() {
                return;
            }
        }
    });
    let output = child.wait_with_output().unwrap();
    writer.join().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (
        output.status.code(),
        text(output.stdout),
        text(output.stderr),
    )
}

#[test]
fn values_are_masked_in_every_form_and_across_cuts() {
    let stack = Stack::new();
    let value = "p@ss/w0rd \"x\" $y & z";
    let pem = "-----BEGIN KEY-----\nMIIEvQIBADANBgkq\nhkiG9w0BAQEFAASC\n-----END KEY-----\n";
    stack.write_json(
        "a.sops.json",
        &[("A", value), ("PEM", pem), ("SHORT", "abcdefg")],
    );
    std::fs::create_dir(stack.folder().join("deep")).unwrap();
    stack.write(
        "deep/b.sops.yaml",
        "n:\n  - deep-secret-value\n  - 1234567890123\n# a secret comment\nx: y\n",
    );
    let base64 = base64::engine::general_purpose::STANDARD;
    let basic = base64.encode(format!("user:{value}"));
    let text = format!(
        "plain {value} end\n\
         json {}\n\
         compose {}\n\
         url https://u:p%40ss%2Fw0rd%20%22x%22%20%24y%20%26%20z@host/\n\
         basic {basic}\n\
         line hkiG9w0BAQEFAASC alone\n\
         deep-secret-value 1234567890123 # a secret comment\n\
         short abcdefg stays, so does hunter2\n",
        serde_json::to_string(value).unwrap(),
        value.replace('$', "$$"),
    );
    let (code, whole, stderr) = filtered(stack.cofferdam().arg("redact"), text.as_bytes(), 1 << 16);
    assert_eq!(code, Some(0), "{stderr}");
    for left in [
        "p@ss",
        "ss/w0rd",
        "p%40ss",
        "hkiG9w",
        "deep-secret",
        "12345",
        "a secret comment",
    ] {
        assert!(!whole.contains(left), "{left} in {whole}");
    }
    let middle = &basic[12..basic.len() - 8];
    assert!(!whole.contains(middle), "{whole}");
    let expected =
        "plain [masked] end\njson \"[masked]\"\ncompose [masked]\nurl https://u:[masked]@host/\n";
    assert!(whole.starts_with(expected), "{whole}");
    assert!(whole.ends_with("short abcdefg stays, so does hunter2\n"));
    for cut in [1, 2, 7, 64] {
        let (_, cut_up, _) = filtered(stack.cofferdam().arg("redact"), text.as_bytes(), cut);
        assert_eq!(cut_up, whole, "{cut}");
    }
    // Named documents only.
    let (_, some, _) = filtered(
        stack.cofferdam().args(["redact", "deep"]),
        b"deep-secret-value hkiG9w0BAQEFAASC",
        4,
    );
    assert_eq!(some, "[masked] hkiG9w0BAQEFAASC");
}

#[test]
fn nothing_passes_where_a_document_does_not_open() {
    let stack = Stack::new();
    stack.write("a.sops.env", "A=first-secret-value\n");
    let other = Stack::new();
    other.write("b.sops.env", "B=second-secret-value\n");
    std::fs::copy(
        other.folder().join("b.sops.env"),
        stack.folder().join("b.sops.env"),
    )
    .unwrap();
    let text = b"first-secret-value second-secret-value\n";
    let (code, stdout, stderr) = filtered(stack.cofferdam().arg("redact"), text, 8);
    assert_eq!((code, stdout.as_str()), (Some(1), ""));
    assert!(stderr.contains("cannot open b.sops.env"), "{stderr}");
    let empty = Stack::new();
    let (code, stdout, stderr) = filtered(empty.cofferdam().arg("redact"), text, 8);
    assert_eq!((code, stdout.as_str()), (Some(1), ""));
    assert!(stderr.contains("no SOPS document"), "{stderr}");
}

#[test]
fn text_that_cannot_be_a_value_passes_at_once_and_bytes_stay() {
    let stack = Stack::new();
    stack.write("a.sops.env", "A=a-secret-value\n");
    let mut child = stack
        .cofferdam()
        .arg("redact")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let mut stdout = child.stdout.take().unwrap();
    stdin.write_all(b"Password: ").unwrap();
    let mut seen = [0; 10];
    stdout.read_exact(&mut seen).unwrap();
    assert_eq!(&seen, b"Password: ");
    let odd: Vec<u8> = (0..=255).cycle().take(100_000).collect();
    stdin.write_all(&odd).unwrap();
    drop(stdin);
    let mut rest = Vec::new();
    stdout.read_to_end(&mut rest).unwrap();
    assert!(rest == odd);
    assert!(child.wait().unwrap().success());
    // A reader that goes is no failure.
    let script = format!("yes | {} redact | head -n 1", crate::support::COFFERDAM);
    let ran = Ran::of(stack.command("sh").args(["-c", &script])).expect_code(0);
    assert_eq!((ran.stdout.as_str(), ran.stderr.as_str()), ("y\n", ""));
}
