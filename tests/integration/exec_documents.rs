//! `exec --process`: a document of what is to be executed.

use std::fs;

use serde_json::{Value, json};

use crate::harness::{Case, Output};
use crate::tests;

tests! {
    a_document_describes_the_program needs [Root],
    a_document_can_come_through_a_pipe needs [Root],
    what_a_document_leaves_open_comes_from_the_container needs [Root]
        unlike runc "leaves resource limits as they are",
    a_document_with_a_mistake_is_refused needs [Root]
        unlike runc "has other words",
}

pub fn document(change: impl Fn(&mut Value)) -> Value {
    let mut document = json!({
        "user": {"uid": 1000, "gid": 1001, "additionalGids": [1002]},
        "args": ["/bin/probe", "report"],
        "env": ["PATH=/bin", "B=c"],
        "cwd": "/var",
        "capabilities": {"bounding": ["CAP_KILL"]}
    });
    change(&mut document);
    document
}

pub fn exec_document(case: &Case, document: &Value) -> Output {
    let path = case.dir.join("process.json");
    fs::write(path, document.to_string()).expect("write");
    case.runtime(&["exec", "--process", "process.json", &case.id])
}

fn a_document_describes_the_program() {
    let case = Case::running();
    let output = exec_document(&case, &document(|_| {})).ok();
    let report: Value = serde_json::from_str(&output).expect("a report");
    assert_eq!(report["env"], json!({"PATH": "/bin", "B": "c", "HOME": "/home/me"}));
    assert_eq!(report["cwd"], json!("/var"));
    let status = &report["status"];
    assert_eq!(status["Uid"], json!("1000 1000 1000 1000"));
    assert_eq!(status["Gid"], json!("1001 1001 1001 1001"));
    assert_eq!(status["Groups"], json!("1002"));
    assert_eq!(status["CapBnd"], json!("0000000000000020"));
    assert_eq!(status["NoNewPrivs"], json!("0"));
}

fn a_document_can_come_through_a_pipe() {
    use std::io::Write;
    let case = Case::running();
    let words = ["exec", "--process", "/dev/stdin", case.id.as_str()];
    let mut command = case.command(&words);
    command.stdin(std::process::Stdio::piped());
    let mut child = crate::harness::spawn(&mut command);
    let document = document(|document| document["args"] = json!(["/bin/probe", "echo", "hello"]));
    let mut stdin = child.stdin.take().expect("a pipe");
    stdin.write_all(document.to_string().as_bytes()).expect("write");
    drop(stdin);
    let output = child.wait_with_output().expect("wait");
    assert_eq!(String::from_utf8_lossy(&output.stdout), "hello\n", "{output:?}");
}

fn what_a_document_leaves_open_comes_from_the_container() {
    let mut case = Case::new(&["wait"]);
    case.set("/process/rlimits", json!([{"type": "RLIMIT_NOFILE", "soft": 100, "hard": 200}]));
    case.set("/process/oomScoreAdj", json!(77));
    case.run_detached();
    let short = |document: &mut Value| {
        document.as_object_mut().expect("an object").remove("capabilities");
        document["user"] = json!({"uid": 0, "gid": 0});
    };
    let output = exec_document(&case, &document(short)).ok();
    let report: Value = serde_json::from_str(&output).expect("a report");
    assert_eq!(report["status"]["CapBnd"], json!("0000000020000420"));
    assert_eq!(report["oom_score_adj"], json!("77"));
    let limits = report["limits"].to_string();
    let files = limits.split("Max open files").nth(1).expect("a limit");
    assert!(files.trim_start().starts_with("100 "), "{limits}");
}

fn a_document_with_a_mistake_is_refused() {
    let case = Case::running();
    type Change = fn(&mut Value);
    let cases: [(Change, &str); 4] = [
        (|document| *document = json!([]), "not an object"),
        (|document| document["cwd"] = json!("x"), "process.cwd: "),
        (|document| document["args"] = json!([]), "process.args: required"),
        (|document| document["user"]["uid"] = json!(u32::MAX), "process.user.uid: "),
    ];
    for (change, want) in cases {
        exec_document(&case, &document(change)).fails(255, want);
    }
    case.runtime(&["exec", &case.id]).fails(255, "exec args cannot be empty");
    case.runtime(&["exec"]).fails(1, "requires a minimum of 1 argument");
    case.runtime(&["exec", "--process", "nosuch", &case.id]).fails(255, "no such file");
    fs::write(case.dir.join("text"), "{").expect("write");
    case.runtime(&["exec", "--process", "text", &case.id]).fails(255, "not JSON");
}
