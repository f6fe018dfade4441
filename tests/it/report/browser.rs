//! The page in a real browser.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::Duration;

/// Headless Chromium, if it is installed.
pub struct Browser {
    program: PathBuf,
}

impl Browser {
    pub fn find() -> Result<Self, String> {
        let places = ["/usr/bin/chromium", "/usr/bin/chromium-browser", "/usr/bin/google-chrome"];
        let program = places.iter().map(Path::new).find(|place| place.exists());
        let program = program
            .ok_or_else(|| format!("none of {} exists; install chromium", places.join(", ")))?;
        Ok(Browser { program: program.to_owned() })
    }

    /// The document after the page has loaded and its scripts, if any, have run.
    pub fn dump(&self, page: &Path) -> String {
        let profile = tempfile::tempdir().expect("a folder for the browser's profile");
        let output = Command::new(&self.program)
            .args([
                "--headless",
                "--no-sandbox",
                "--disable-gpu",
                "--no-first-run",
                "--disable-background-networking",
            ])
            .args([
                "--disable-component-update",
                "--disable-sync",
                "--disable-extensions",
                "--no-proxy-server",
            ])
            .arg("--virtual-time-budget=3000")
            .arg(format!("--user-data-dir={}", profile.path().display()))
            .arg("--dump-dom")
            .arg(format!("file://{}", page.display()))
            .stdin(Stdio::null())
            .output()
            .expect("chromium starts");
        assert!(
            output.status.success(),
            "chromium failed: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        String::from_utf8(output.stdout).expect("a document in UTF-8")
    }
}

/// A local server that records every request it receives.
pub struct Listener {
    pub address: String,
    requests: Receiver<String>,
}

impl Listener {
    pub fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("a bound address").to_string();
        let (sender, requests) = mpsc::channel();
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                if sender.send(first_line(stream)).is_err() {
                    break;
                }
            }
        });
        Listener { address, requests }
    }

    /// All requests so far, until none arrives within `patience`.
    pub fn requests(&self, patience: Duration) -> Vec<String> {
        let mut all = Vec::new();
        while let Ok(request) = self.requests.recv_timeout(patience) {
            all.push(request);
        }
        all
    }
}

fn first_line(mut stream: TcpStream) -> String {
    let mut start = [0; 256];
    let read = stream
        .set_read_timeout(Some(Duration::from_secs(2)))
        .and_then(|()| stream.read(&mut start))
        .unwrap_or(0);
    let _ = stream.write_all(b"HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n");
    String::from_utf8_lossy(&start[..read]).lines().next().unwrap_or("").to_owned()
}
