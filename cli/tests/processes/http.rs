//! As much of HTTP/1.1 as the tests need: one request at a time on a connection that is kept.

use std::collections::BTreeMap;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

/// What came back.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: BTreeMap<String, String>,
    pub body: Vec<u8>,
}

impl Answer {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(&name.to_ascii_lowercase()).map(String::as_str)
    }

    /// The version in the ETag; 0 without one.
    pub fn version(&self) -> u64 {
        self.header("etag").map_or(0, |tag| tag.trim_matches('"').parse().unwrap())
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

/// Connections to members, one each.
pub struct Http {
    patience: Duration,
    connections: BTreeMap<String, BufReader<TcpStream>>,
}

impl Http {
    /// A member that is silent for `patience` is an error.
    pub fn new(patience: Duration) -> Http {
        Http { patience, connections: BTreeMap::new() }
    }

    /// Sends a request. After an error it may have been executed all the same.
    pub fn ask(
        &mut self,
        address: &str,
        request: &str,
        headers: &[(&str, String)],
        body: &[u8],
    ) -> io::Result<Answer> {
        let mut connection = match self.connections.remove(address) {
            Some(connection) => connection,
            None => self.connect(address)?,
        };
        let mut head = format!("{request} HTTP/1.1\r\nHost: {address}\r\n");
        for (name, value) in headers {
            head += &format!("{name}: {value}\r\n");
        }
        head += &format!("Content-Length: {}\r\n\r\n", body.len());
        connection.get_mut().write_all(&[head.as_bytes(), body].concat())?;
        let answer = read_answer(&mut connection, !request.starts_with("HEAD "))?;
        if answer.header("connection") != Some("close") {
            self.connections.insert(address.to_owned(), connection);
        }
        Ok(answer)
    }

    fn connect(&self, address: &str) -> io::Result<BufReader<TcpStream>> {
        let stream = TcpStream::connect_timeout(&address.parse().unwrap(), self.patience)?;
        stream.set_read_timeout(Some(self.patience))?;
        stream.set_write_timeout(Some(self.patience))?;
        stream.set_nodelay(true)?;
        Ok(BufReader::new(stream))
    }
}

fn read_answer(connection: &mut BufReader<TcpStream>, has_body: bool) -> io::Result<Answer> {
    let broken = |line: &str| io::Error::other(format!("not HTTP: {line:?}"));
    let first = read_line(connection)?;
    let status = first.split(' ').nth(1).and_then(|status| status.parse().ok());
    let status = status.ok_or_else(|| broken(&first))?;
    let mut headers = BTreeMap::new();
    loop {
        let line = read_line(connection)?;
        if line.is_empty() {
            break;
        }
        let (name, value) = line.split_once(':').ok_or_else(|| broken(&line))?;
        headers.insert(name.to_ascii_lowercase(), value.trim().to_owned());
    }
    let length = headers.get("content-length").map_or(0, |length| length.parse().unwrap());
    let mut body = vec![0; if has_body { length } else { 0 }];
    connection.read_exact(&mut body)?;
    Ok(Answer { status, headers, body })
}

fn read_line(connection: &mut BufReader<TcpStream>) -> io::Result<String> {
    let mut line = String::new();
    if connection.read_line(&mut line)? == 0 {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok(line.trim_end().to_owned())
}
