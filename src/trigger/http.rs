//! The site's front door. Redirects are never followed, no proxy is taken from the environment, and nothing limits how
//! long an event may stream: time limits belong to the caller.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use reqwest::{Certificate, RequestBuilder, Response, Url, header, redirect};

use super::head::{Head, LONGEST_HEAD};
use super::{Chunk, EndOfStream, Request};
use crate::config::secret::Password;
use crate::config::{CaFile, Http, Site};
use crate::outcome::Failure;
use crate::outward::{NotLinkLocal, causes};
use crate::protocol::signature::HEADER;

#[derive(Debug)]
pub struct Client {
    pub site: Arc<Site>,
    client: reqwest::Client,
    /// Where to connect; differs from the site's address in its port only.
    url: Url,
    basic_auth: Option<Password>,
}

/// The request is on its way from the first `next` on: who waits for a head can do something else meanwhile, as for a body.
pub struct Stream(State);

enum State {
    Sent(Pin<Box<dyn Future<Output = Result<Response, reqwest::Error>> + Send>>),
    Body(Response),
    Over,
}

impl Client {
    pub fn new(site: &Arc<Site>, door: &Http) -> Result<Self, Failure> {
        let Http { ca_file, connect_to, basic_auth } = door;
        let mut url = site.url.clone();
        let mut builder = reqwest::Client::builder()
            .redirect(redirect::Policy::none())
            .retry(reqwest::retry::never())
            .no_proxy()
            .http1_only()
            .connect_timeout(Duration::from_secs(5))
            .pool_max_idle_per_host(0)
            .user_agent(concat!("wp-cron-runner/", env!("CARGO_PKG_VERSION")))
            .dns_resolver(Arc::new(NotLinkLocal));
        if let Some(address) = connect_to {
            let _ = url.set_port(Some(address.port()));
            match url.domain().map(str::to_string) {
                Some(domain) => builder = builder.resolve(&domain, *address),
                None => {
                    let _ = url.set_ip_host(address.ip());
                }
            }
        }
        if let Some(CaFile { path, pem }) = ca_file {
            let wrong = |why: String| Failure::Misconfigured(format!("its `ca_file` {} {why}", path.display()));
            let certificates =
                Certificate::from_pem_bundle(pem).map_err(|error| wrong(format!("is wrong: {error}")))?;
            if certificates.is_empty() {
                return Err(wrong("holds no certificate".into()));
            }
            builder = builder.tls_certs_merge(certificates);
        }
        let client = builder.build().map_err(|error| Failure::Misconfigured(causes(&error)))?;
        Ok(Self { site: site.clone(), client, url, basic_auth: basic_auth.clone() })
    }

    pub fn send(&self, request: Request) -> Stream {
        let mut url = self.url.clone();
        url.set_path(request.path_and_query.split('?').next().unwrap_or("/"));
        url.set_query(Some(&request.query));
        let builder = self
            .client
            .post(url)
            .header(header::CONTENT_TYPE, "application/json")
            .header(HEADER, request.signature)
            .body(request.body);
        self.stream(builder)
    }

    /// Core's own file, where no plugin is: it takes its own lock.
    pub fn get_wp_cron_php(&self) -> Stream {
        let mut url = self.url.clone();
        url.set_path(&format!("{}/wp-cron.php", self.site.url.path().trim_end_matches('/')));
        url.set_query(Some("doing_wp_cron"));
        self.stream(self.client.get(url))
    }

    fn stream(&self, builder: RequestBuilder) -> Stream {
        let mut builder = builder.header(header::HOST, &self.site.host);
        if let Some(auth) = &self.basic_auth {
            let (user, password) = auth.expose().split_once(':').unwrap_or_default();
            builder = builder.basic_auth(user, Some(password));
        }
        Stream(State::Sent(Box::pin(builder.send())))
    }
}

fn with_head(response: Response) -> Result<(Head, Response), EndOfStream> {
    let mut head = Head { status: response.status().as_u16(), ..Head::default() };
    let mut length = 0;
    for (name, value) in response.headers() {
        length += name.as_str().len() + value.len() + 4;
        if name != "status" {
            head.set(name.as_str(), &crate::text::lossy(value.as_bytes()));
        }
    }
    if length > LONGEST_HEAD {
        return Err(EndOfStream::Nothing(Failure::Misconfigured("its answer has more than 64 KiB of headers".into())));
    }
    Ok((head, response))
}

impl Stream {
    pub async fn next(&mut self) -> Chunk {
        match &mut self.0 {
            State::Sent(sent) => match sent.await.map_err(|error| explain(&error)).and_then(with_head) {
                Ok((head, response)) => {
                    self.0 = State::Body(response);
                    Chunk::Head(head)
                }
                Err(end) => {
                    self.0 = State::Over;
                    Chunk::End(end)
                }
            },
            State::Body(response) => match response.chunk().await {
                Ok(Some(bytes)) => Chunk::Body(bytes.to_vec()),
                Ok(None) => Chunk::End(EndOfStream::HttpEnd { status: response.status().as_u16() }),
                Err(error) => Chunk::End(EndOfStream::Reset(causes(&error))),
            },
            State::Over => Chunk::End(EndOfStream::Reset("the answer is over".into())),
        }
    }
}

fn explain(error: &reqwest::Error) -> EndOfStream {
    let causes = causes(error);
    let is_certificate = causes.contains("certificate") || causes.contains("UnknownIssuer");
    match () {
        () if is_certificate => EndOfStream::Nothing(Failure::Misconfigured(format!("TLS: {causes}"))),
        () if error.is_connect() => EndOfStream::Nothing(Failure::NotReached(causes)),
        () if error.is_builder() => EndOfStream::Nothing(Failure::Misconfigured(causes)),
        () if causes.contains("message head is too large") => {
            EndOfStream::Nothing(Failure::Misconfigured("its answer has more than 64 KiB of headers".into()))
        }
        () => EndOfStream::Reset(causes),
    }
}
