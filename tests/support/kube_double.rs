//! A double of the part of the Kubernetes API that `kubectl` needs for Secrets and Flux's objects: TLS, tokens, discovery, faults on demand.
//!
//! Every client gets one answer a connection. The server is a thread of the test and ends with the value.

#![allow(
    clippy::disallowed_methods,
    clippy::expect_used,
    clippy::unwrap_used,
    reason = "a test may fail where it stands"
)]

use std::collections::{BTreeMap, VecDeque};
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ring::signature::{Ed25519KeyPair, KeyPair};
use serde_json::{Value, json};

use super::kube_flux::Flux;
use super::kube_objects::{Objects, Refusal, merge, patch};

const TOKEN: &str = "token-of-the-test";

/// What goes wrong with the next request for a Secret.
#[derive(Debug, Clone)]
pub enum Fault {
    /// It takes this long.
    Slow(Duration),
    /// The connection ends before anything is done.
    Cut,
    /// It is done, and the connection ends within the answer.
    CutAnswer,
    /// Somebody else changes an annotation right before it.
    Overtaken,
    /// This status, without anything being done.
    Status(u16, &'static str),
}

/// What happens after a write.
type Hook = Box<dyn FnMut(&mut Objects) + Send>;

/// What the server does and has.
#[derive(Default)]
pub struct Behaviour {
    /// The Secrets.
    pub objects: Objects,
    /// Flux's objects.
    pub flux: Flux,
    /// Verbs that the token has no right to.
    pub denied: Vec<&'static str>,
    /// Refuses every token.
    pub is_closed: bool,
    /// One for each of the next reads of a Secret.
    pub faults: VecDeque<Fault>,
    /// One for each of the next writes.
    pub write_faults: VecDeque<Fault>,
    /// Called after each write.
    pub hook: Option<Hook>,
    /// Verb and content type of every request for a Secret.
    pub requests: Vec<String>,
}

/// The server.
pub struct KubeDouble {
    behaviour: Arc<Mutex<Behaviour>>,
    ends: Arc<AtomicBool>,
    folder: PathBuf,
    port: u16,
}

impl KubeDouble {
    /// Starts it, and writes a kubeconfig with the context `minipcs` below `folder`.
    pub fn start(folder: &Path) -> Self {
        let folder = folder.join("kube");
        std::fs::create_dir(&folder).unwrap();
        let pkcs8 = Ed25519KeyPair::generate_pkcs8(&ring::rand::SystemRandom::new()).unwrap();
        let certificate = certificate(&Ed25519KeyPair::from_pkcs8(pkcs8.as_ref()).unwrap());
        let config = rustls::ServerConfig::builder()
            .with_no_client_auth()
            .with_single_cert(
                vec![certificate.clone().into()],
                rustls::pki_types::PrivatePkcs8KeyDer::from(pkcs8.as_ref().to_vec()).into(),
            )
            .unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let pem = format!(
            "-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----\n",
            STANDARD.encode(&certificate)
        );
        let kubeconfig = json!({
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "c", "cluster": {"server": format!("https://127.0.0.1:{port}"), "certificate-authority-data": STANDARD.encode(pem)}}],
            "users": [{"name": "u", "user": {"token": TOKEN}}],
            "contexts": [{"name": "minipcs", "context": {"cluster": "c", "user": "u"}}],
        });
        std::fs::write(folder.join("kubeconfig"), kubeconfig.to_string()).unwrap();
        // What is in argv is written down, for tests that look for secrets there.
        let kubectl = super::find_program("kubectl").expect("kubectl on PATH");
        let wrapper = format!(
            "#!/bin/sh\nprintf '%s\\n' \"$*\" >>'{0}/argv'\nexec '{1}' --kubeconfig='{0}/kubeconfig' --cache-dir='{0}/cache' \"$@\"\n",
            folder.display(),
            kubectl.display()
        );
        std::fs::write(folder.join("kubectl"), wrapper).unwrap();
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        std::fs::set_permissions(folder.join("kubectl"), mode).unwrap();

        let behaviour = Arc::new(Mutex::new(Behaviour::default()));
        let ends = Arc::new(AtomicBool::new(false));
        let (shared, stop, config) = (Arc::clone(&behaviour), Arc::clone(&ends), Arc::new(config));
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                if stop.load(Ordering::SeqCst) {
                    break;
                }
                let (shared, config) = (Arc::clone(&shared), Arc::clone(&config));
                std::thread::spawn(move || serve(stream, config, &shared));
            }
        });
        Self {
            behaviour,
            ends,
            folder,
            port,
        }
    }

    /// What `COFFERDAM_KUBECTL` should be.
    pub fn program(&self) -> String {
        format!("'{}'", self.folder.join("kubectl").display())
    }

    /// The argument lists that it was called with.
    pub fn argv(&self) -> String {
        std::fs::read_to_string(self.folder.join("argv")).unwrap_or_default()
    }

    /// Looks at the server, or changes it.
    pub fn with<T>(&self, look: impl FnOnce(&mut Behaviour) -> T) -> T {
        look(&mut self.behaviour.lock().unwrap())
    }

    /// Makes a Secret as `kubectl create secret generic` does.
    pub fn create(&self, namespace: &str, name: &str, data: &[(&str, &str)]) {
        self.create_as("kubectl-create", namespace, name, data, json!({}));
    }

    /// Makes a Secret, with more in its manifest.
    pub fn create_as(
        &self,
        manager: &str,
        namespace: &str,
        name: &str,
        data: &[(&str, &str)],
        more: Value,
    ) {
        let data: BTreeMap<&str, &str> = data.iter().copied().collect();
        let mut body = json!({"metadata": {"name": name}, "stringData": data});
        merge(&mut body, &more);
        self.with(|double| double.objects.create(namespace, body, manager))
            .unwrap();
    }

    /// Somebody else's write: a merge patch.
    pub fn patch_as(&self, manager: &str, namespace: &str, name: &str, change: &Value) {
        self.with(|double| patch_as(&mut double.objects, manager, namespace, name, change));
    }

    /// The Secret's entries, decoded; none if there is no such Secret.
    pub fn entries(&self, namespace: &str, name: &str) -> Option<BTreeMap<String, String>> {
        let object = self
            .with(|double| double.objects.get(namespace, name))
            .ok()?;
        let data = object.get("data").and_then(Value::as_object);
        let decoded = data.into_iter().flatten().map(|(entry, value)| {
            let bytes = STANDARD.decode(value.as_str().unwrap()).unwrap();
            (entry.clone(), String::from_utf8(bytes).unwrap())
        });
        Some(decoded.collect())
    }
}

/// Somebody else's write: a merge patch, without a version.
pub fn patch_as(objects: &mut Objects, manager: &str, namespace: &str, name: &str, change: &Value) {
    let mut object = objects.get(namespace, name).unwrap();
    merge(&mut object, change);
    objects.update(namespace, name, object, manager).unwrap();
}

impl Drop for KubeDouble {
    fn drop(&mut self) {
        self.ends.store(true, Ordering::SeqCst);
        // Wakes the thread that waits for connections.
        let _ = TcpStream::connect(("127.0.0.1", self.port));
    }
}

struct Request {
    verb: &'static str,
    path: String,
    query: BTreeMap<String, String>,
    kind: String,
    token: String,
    body: Vec<u8>,
}

fn serve(stream: TcpStream, config: Arc<rustls::ServerConfig>, shared: &Mutex<Behaviour>) {
    let Ok(connection) = rustls::ServerConnection::new(config) else {
        return;
    };
    stream
        .set_read_timeout(Some(Duration::from_secs(30)))
        .unwrap();
    let mut stream = rustls::StreamOwned::new(connection, stream);
    let Some(request) = receive(&mut stream) else {
        return;
    };
    let is_secret = request.path.contains("/secrets");
    let fault = if is_secret {
        let mut behaviour = shared.lock().unwrap();
        let kind = format!("{} {}", request.verb, request.kind);
        behaviour.requests.push(kind.trim().to_owned());
        if request.verb == "get" {
            behaviour.faults.pop_front()
        } else {
            behaviour.write_faults.pop_front()
        }
    } else {
        None
    };
    match fault {
        Some(Fault::Slow(time)) => std::thread::sleep(time),
        Some(Fault::Cut) => return,
        _ => {}
    }
    let (code, body) = {
        let mut behaviour = shared.lock().unwrap();
        match answer(&mut behaviour, &request, fault.as_ref()) {
            Ok((code, body)) => (code, body),
            Err(Refusal(code, reason, message, details)) => (
                code,
                json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "reason": reason, "message": message, "details": details, "code": code}),
            ),
        }
    };
    let body = body.to_string();
    let sent = if matches!(fault, Some(Fault::CutAnswer)) {
        &body[..body.len() / 2]
    } else {
        &body
    };
    let head = format!(
        "HTTP/1.1 {code} X\r\nContent-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
        body.len()
    );
    let _ = stream.write_all(head.as_bytes());
    let _ = stream.write_all(sent.as_bytes());
    let _ = stream.flush();
    stream.conn.send_close_notify();
    let _ = stream.flush();
}

fn receive(stream: &mut impl Read) -> Option<Request> {
    let mut bytes = Vec::new();
    let mut chunk = [0u8; 8192];
    let end = loop {
        if let Some(at) = bytes.windows(4).position(|w| w == b"\r\n\r\n") {
            break at;
        }
        let read = stream.read(&mut chunk).ok().filter(|&read| read > 0)?;
        bytes.extend_from_slice(&chunk[..read]);
    };
    let head = String::from_utf8_lossy(&bytes[..end]).into_owned();
    let header = |name: &str| {
        head.lines().find_map(|line| {
            let (key, value) = line.split_once(':')?;
            key.eq_ignore_ascii_case(name)
                .then(|| value.trim().to_owned())
        })
    };
    let length: usize = header("content-length").map_or(0, |text| text.parse().unwrap());
    while bytes.len() < end + 4 + length {
        let read = stream.read(&mut chunk).ok().filter(|&read| read > 0)?;
        bytes.extend_from_slice(&chunk[..read]);
    }
    let mut words = head.lines().next()?.split(' ');
    let verb = match words.next()? {
        "GET" => "get",
        "PATCH" => "patch",
        "POST" => "create",
        "PUT" => "update",
        "DELETE" => "delete",
        _ => return None,
    };
    let (path, query) = words
        .next()
        .map(|target| target.split_once('?').unwrap_or((target, "")))?;
    Some(Request {
        verb,
        path: path.to_owned(),
        query: query
            .split('&')
            .filter_map(|pair| pair.split_once('='))
            .map(|(key, value)| (key.to_owned(), value.to_owned()))
            .collect(),
        kind: header("content-type").unwrap_or_default(),
        token: header("authorization").unwrap_or_default(),
        body: bytes[end + 4..].to_vec(),
    })
}

fn answer(
    behaviour: &mut Behaviour,
    request: &Request,
    fault: Option<&Fault>,
) -> Result<(u16, Value), Refusal> {
    let refuse =
        |code, reason, message: &str| Refusal(code, reason, message.to_owned(), Value::Null);
    if behaviour.is_closed || request.token != format!("Bearer {TOKEN}") {
        return Err(refuse(401, "Unauthorized", "Unauthorized"));
    }
    let verbs = [
        "create", "delete", "get", "list", "patch", "update", "watch",
    ];
    match request.path.as_str() {
        "/version" => return Ok((200, json!({"major": "1", "minor": "34"}))),
        "/api" => return Ok((200, json!({"kind": "APIVersions", "versions": ["v1"]}))),
        "/apis" => {
            let groups = json!({"kind": "APIGroupList", "apiVersion": "v1", "groups": behaviour.flux.groups()});
            return Ok((200, groups));
        }
        "/api/v1" => {
            let secrets = json!({"name": "secrets", "singularName": "secret", "namespaced": true, "kind": "Secret", "verbs": verbs});
            return Ok((
                200,
                json!({"kind": "APIResourceList", "groupVersion": "v1", "resources": [secrets]}),
            ));
        }
        _ => {}
    }
    let parts: Vec<&str> = request.path.trim_matches('/').split('/').collect();
    let flux = &mut behaviour.flux;
    if let Some(answer) = flux.answer(request.verb, &parts, &request.body) {
        return answer;
    }
    if let ["api", "v1", "namespaces", namespace] = parts.as_slice() {
        // kubectl asks for it when a Secret is not there.
        if behaviour.objects.has_namespace(namespace) {
            return Ok((
                200,
                json!({"kind": "Namespace", "apiVersion": "v1", "metadata": {"name": namespace}}),
            ));
        }
        let message = format!("namespaces \"{namespace}\" not found");
        return Err(refuse(404, "NotFound", &message));
    }
    let ["api", "v1", "namespaces", namespace, "secrets", rest @ ..] = parts.as_slice() else {
        return Err(refuse(
            404,
            "NotFound",
            "the server could not find the requested resource",
        ));
    };
    let name = rest.first().copied().unwrap_or_default();
    if behaviour.denied.contains(&request.verb) {
        let message = format!(
            "secrets \"{name}\" is forbidden: User \"u\" cannot {} resource \"secrets\" in API group \"\" in the namespace \"{namespace}\"",
            request.verb
        );
        return Err(refuse(403, "Forbidden", &message));
    }
    if let Some(Fault::Status(code, reason)) = fault {
        let message = match code {
            409 => {
                "Operation cannot be fulfilled: the object has been modified; please apply your changes to the latest version and try again"
            }
            _ => "as the test wants it",
        };
        return Err(refuse(*code, reason, message));
    }
    if request.verb == "get" {
        return Ok((200, behaviour.objects.get(namespace, name)?));
    }
    if matches!(fault, Some(Fault::Overtaken)) {
        let change =
            json!({"metadata": {"annotations": {"count": behaviour.requests.len().to_string()}}});
        patch_as(&mut behaviour.objects, "somebody", namespace, name, &change);
    }
    if request.kind == "application/vnd.kubernetes.protobuf" {
        return Err(refuse(
            415,
            "UnsupportedMediaType",
            "the double speaks JSON alone",
        ));
    }
    let query = |key: &str| {
        request
            .query
            .get(key)
            .map(String::as_str)
            .unwrap_or_default()
    };
    let manager = query("fieldManager");
    let body = || -> Result<Value, Refusal> {
        serde_json::from_slice(&request.body).map_err(|e| refuse(400, "BadRequest", &e.to_string()))
    };
    let objects = &mut behaviour.objects;
    let (code, object) = match (request.verb, request.kind.as_str()) {
        ("create", _) => (201, objects.create(namespace, body()?, manager)?),
        ("delete", _) => (200, objects.delete(namespace, name)?),
        ("update", _) => (200, objects.update(namespace, name, body()?, manager)?),
        ("patch", "application/apply-patch+yaml") => {
            let existed = objects.get(namespace, name).is_ok();
            let force = query("force") == "true";
            let object = objects.apply(namespace, name, body()?, manager, force)?;
            (if existed { 200 } else { 201 }, object)
        }
        ("patch", "application/merge-patch+json") => {
            let mut object = objects.get(namespace, name)?;
            merge(&mut object, &body()?);
            (200, objects.update(namespace, name, object, manager)?)
        }
        ("patch", "application/json-patch+json") => {
            let mut object = objects.get(namespace, name)?;
            patch(&mut object, &body()?)?;
            (200, objects.update(namespace, name, object, manager)?)
        }
        _ => return Err(refuse(415, "UnsupportedMediaType", &request.kind)),
    };
    if let Some(mut hook) = behaviour.hook.take() {
        hook(&mut behaviour.objects);
        behaviour.hook = Some(hook);
    }
    Ok((code, object))
}

/// A certificate for 127.0.0.1 that is signed by its own key, in DER.
///
/// Source: RFC 5280 §4.1, RFC 8410 (Ed25519).
fn certificate(key: &Ed25519KeyPair) -> Vec<u8> {
    fn der(tag: u8, parts: &[&[u8]]) -> Vec<u8> {
        let content = parts.concat();
        let mut bytes = vec![tag];
        match u8::try_from(content.len()) {
            Ok(length) if length < 128 => bytes.push(length),
            Ok(length) => bytes.extend_from_slice(&[0x81, length]),
            Err(_) => {
                bytes.push(0x82);
                bytes.extend_from_slice(&u16::try_from(content.len()).unwrap().to_be_bytes());
            }
        }
        bytes.extend_from_slice(&content);
        bytes
    }
    let sequence = |parts: &[&[u8]]| der(0x30, parts);
    let algorithm = sequence(&[&[0x06, 3, 0x2b, 0x65, 0x70]]);
    let common_name = sequence(&[&[0x06, 3, 0x55, 4, 3], &der(0x0c, &[b"double"])]);
    let name = sequence(&[&der(0x31, &[&common_name])]);
    let time = |text: &str| der(0x17, &[text.as_bytes()]);
    let bits = |bytes: &[u8]| der(0x03, &[&[0], bytes]);
    let address = sequence(&[&[0x87, 4, 127, 0, 0, 1]]);
    let extension = sequence(&[&[0x06, 3, 0x55, 0x1d, 0x11], &der(0x04, &[&address])]);
    let signed = sequence(&[
        &[0xa0, 3, 2, 1, 2],
        &[2, 1, 1],
        &algorithm,
        &name,
        &sequence(&[&time("200101000000Z"), &time("491231000000Z")]),
        &name,
        &sequence(&[&algorithm, &bits(key.public_key().as_ref())]),
        &der(0xa3, &[&sequence(&[&extension])]),
    ]);
    let signature = key.sign(&signed);
    sequence(&[&signed, &algorithm, &bits(signature.as_ref())])
}
