//! Connections full of HTTP/1 messages: heads, bodies and what follows them.

use super::cuts;
use ringway_wire::http1::{
    BodyDecoder, BodyKind, Framing, H1Error, H1Rule, HeadLimits, HeaderKeyFormat, ParseOptions,
    ParsedHead, UnderscoreAction, encode_request_head, encode_response_head, parse_request,
    parse_response, request_framing, response_framing, strip_request_hop_by_hop,
    strip_response_hop_by_hop,
};
use ringway_wire::{HeaderMap, KnownName, Method, RequestHead, ResponseHead, Version};

/// What means something in a message.
pub const WORDS: &[&str] = &[
    "\r\n",
    "\r\n\r\n",
    "\n",
    "\r",
    "\r\n ",
    ": ",
    ":",
    " ",
    "\t",
    ",",
    ";",
    "\u{0}",
    "\u{7f}",
    "GET / HTTP/1.1\r\nhost: h\r\n\r\n",
    "POST ",
    "HEAD ",
    "CONNECT ",
    "OPTIONS * ",
    "QUERY ",
    " HTTP/1.1",
    " HTTP/1.0",
    "HTTP/1.1 ",
    "HTTP/1.1 200 OK\r\n",
    "HTTP/1.1 100 Continue\r\n\r\n",
    "204",
    "304",
    "101",
    "http://",
    "https://a@b:1/",
    "//",
    "/../",
    "%2e%2f",
    "#",
    "[::1]:80",
    "host: ",
    "Content-Length: 5\r\n",
    "content-length: 0\r\n",
    "content-length: +1\r\n",
    "content-length: 01\r\n",
    "content-length: 1, 1\r\n",
    "18446744073709551616",
    "Transfer-Encoding: chunked\r\n",
    "transfer-encoding: gzip, chunked\r\n",
    "chunked",
    "0\r\n\r\n",
    "5\r\nhello\r\n",
    "ffffffffffffffff",
    "connection: close\r\n",
    "connection: keep-alive, te\r\n",
    "connection: upgrade\r\nupgrade: websocket\r\n",
    "connection: content-length\r\n",
    "te: trailers\r\n",
    "expect: 100-continue\r\n",
    "x_under_score: v\r\n",
    "trailer: x\r\n",
];

/// A head of either direction.
#[derive(Clone, Debug, PartialEq)]
enum Head {
    Request(RequestHead),
    Response(ResponseHead),
}

/// Who speaks, and how strict the reader is.
struct Reader {
    /// Whose responses are read: to requests of this method. `None`: requests are read.
    answers: Option<Method>,
    limits: HeadLimits,
    options: ParseOptions,
}

#[derive(Debug, PartialEq)]
struct Message {
    parsed: ParsedHead,
    head: Head,
    body: Vec<u8>,
    trailers: Option<HeaderMap>,
    /// Whether its body came to an end; what the end of the connection means otherwise.
    end: Result<(), H1Rule>,
}

/// What became of the bytes of a connection.
#[derive(Debug, Default, PartialEq)]
struct Outcome {
    messages: Vec<Message>,
    /// The refusal that ended it. The message it came in, if its head was good, is the last one;
    /// how much of that body was seen depends on the pieces and is left out.
    refused: Option<(H1Rule, u16)>,
    /// Bytes used up by whole messages and the head and body of the last one.
    used: usize,
}

/// Requests on one connection, read by a strict, a lax and a narrow reader.
pub fn run_requests(input: &[u8]) {
    for (limits, options) in settings(HeadLimits::default()) {
        check(&Reader { answers: None, limits, options }, input);
    }
}

/// Responses on one connection, to requests of several methods.
pub fn run_responses(input: &[u8]) {
    for (limits, options) in settings(HeadLimits::RESPONSE) {
        for method in [Method::Get, Method::Head, Method::Connect] {
            let options = options.clone();
            check(&Reader { answers: Some(method), limits, options }, input);
        }
    }
}

fn settings(limits: HeadLimits) -> [(HeadLimits, ParseOptions); 3] {
    let lax = ParseOptions {
        accept_http_10: true,
        default_host_for_http_10: b"default".to_vec(),
        allow_chunked_length: true,
        enable_trailers: true,
        header_key_format: HeaderKeyFormat::PreserveCase,
        headers_with_underscores_action: UnderscoreAction::DropHeader,
        allow_custom_methods: true,
        ..ParseOptions::default()
    };
    let narrow = ParseOptions {
        allow_absolute_url: false,
        headers_with_underscores_action: UnderscoreAction::RejectRequest,
        ..ParseOptions::default()
    };
    let tight = HeadLimits { head_bytes_max: 96, headers_count_max: 3 };
    [(limits, ParseOptions::default()), (limits, lax), (tight, narrow)]
}

fn check(reader: &Reader, input: &[u8]) {
    let whole = reader.read(input, &[input.len()]);
    for ends in cuts::ways(input) {
        let cut = reader.read(input, &ends);
        assert_eq!(cut, whole, "pieces that end at {ends:?}, {:?}", reader.options);
    }
    for message in &whole.messages {
        reader.sent_on(message);
    }
}

impl Reader {
    fn parse(&self, input: &[u8]) -> Result<Option<(ParsedHead, Head)>, H1Error> {
        let Some(method) = &self.answers else {
            let mut head = RequestHead::default();
            let parsed = parse_request(input, &self.limits, &self.options, &mut head)?;
            return Ok(parsed.map(|parsed| (parsed, Head::Request(head))));
        };
        let mut head = ResponseHead::default();
        let parsed = parse_response(input, &self.limits, &self.options, method, &mut head)?;
        Ok(parsed.map(|parsed| (parsed, Head::Response(head))))
    }

    fn decoder(&self, kind: BodyKind) -> BodyDecoder {
        match self.answers {
            None => BodyDecoder::request(kind, &self.limits, &self.options),
            Some(_) => BodyDecoder::response(kind, &self.limits, &self.options),
        }
    }

    /// Reads as a connection does: a head is parsed from its start again whenever more has come,
    /// a body goes through its decoder, and the next message begins where the last one ended.
    fn read(&self, input: &[u8], ends: &[usize]) -> Outcome {
        let mut outcome = Outcome::default();
        let mut body: Option<BodyDecoder> = None;
        for &end in ends {
            loop {
                let stepped = match &mut body {
                    None => self.begin(&input[outcome.used..end], &mut outcome, &mut body),
                    Some(decoder) => advance(&input[outcome.used..end], &mut outcome, decoder),
                };
                match stepped {
                    Err(error) => {
                        outcome.refused = Some((error.rule, error.status()));
                        return outcome;
                    }
                    Ok(Step::MoreInput) => break,
                    Ok(Step::Advanced) => {}
                    Ok(Step::MessageEnd) => {
                        let decoder = body.take();
                        if !end_message(&mut outcome, decoder) {
                            return outcome;
                        }
                    }
                }
            }
        }
        end_message(&mut outcome, body);
        outcome
    }

    fn begin(
        &self,
        input: &[u8],
        outcome: &mut Outcome,
        body: &mut Option<BodyDecoder>,
    ) -> Result<Step, H1Error> {
        let Some((parsed, head)) = self.parse(input)? else { return Ok(Step::MoreInput) };
        assert!(parsed.head_len <= input.len() && parsed.head_len <= self.limits.head_bytes_max);
        assert!(input[..parsed.head_len].ends_with(b"\r\n\r\n"), "a head ends in an empty line");
        outcome.used += parsed.head_len;
        *body = Some(self.decoder(parsed.body));
        let end = Err(H1Rule::Truncated);
        outcome.messages.push(Message { parsed, head, body: Vec::new(), trailers: None, end });
        Ok(Step::Advanced)
    }

    /// What goes to the other side is one message that a strict reader takes for the same one:
    /// nothing in it can be read as a second message.
    fn sent_on(&self, message: &Message) {
        let ParsedHead { body, upgrade, .. } = message.parsed;
        let mut out = Vec::new();
        let framing = match &message.head {
            Head::Request(head) => {
                let mut head = head.clone();
                strip_request_hop_by_hop(&mut head.headers, upgrade);
                let framing = request_framing(&head, body == BodyKind::None, upgrade);
                encode_request_head(&head, framing, self.options.header_key_format, &mut out);
                framing
            }
            Head::Response(head) => {
                let mut head = head.clone();
                strip_response_hop_by_hop(&mut head.headers, upgrade);
                let method = self.answers.as_ref().unwrap_or(&Method::Get);
                let (version, ended) = (Version::Http11, body == BodyKind::None);
                let framing = response_framing(&head, method, version, ended, upgrade);
                let format = self.options.header_key_format;
                encode_response_head(&head, version, framing, format, true, &mut out);
                framing
            }
        };
        let strict = Self {
            answers: self.answers,
            limits: HeadLimits { head_bytes_max: 1 << 20, headers_count_max: 1 << 10 },
            options: ParseOptions { allow_custom_methods: true, ..ParseOptions::default() },
        };
        let text = String::from_utf8_lossy(&out);
        let again = match strict.parse(&out) {
            Ok(Some((again, head))) => {
                assert_same(&message.head, &head);
                again
            }
            other => panic!("sent on, but not read again: {other:?}\n{text:?}"),
        };
        assert_eq!(again.head_len, out.len(), "more than one message in {text:?}");
        // Behind an upgrade comes a tunnel, whatever its head says of a body.
        if !upgrade {
            let expected = if framing == Framing::Chunked { BodyKind::Chunked } else { body };
            assert_eq!(again.body, expected, "another body behind {text:?}");
        }
    }
}

enum Step {
    MoreInput,
    Advanced,
    MessageEnd,
}

fn advance(
    input: &[u8],
    outcome: &mut Outcome,
    decoder: &mut BodyDecoder,
) -> Result<Step, H1Error> {
    if decoder.is_done() {
        return Ok(Step::MessageEnd);
    }
    if input.is_empty() {
        return Ok(Step::MoreInput);
    }
    let (before, message) = (outcome.used, outcome.messages.last_mut());
    let Some(message) = message else { panic!("a body without a head") };
    let step = match decoder.decode(input) {
        Ok(step) => step,
        Err(error) => {
            message.body.clear();
            outcome.used = 0;
            return Err(error);
        }
    };
    assert!(step.consumed > 0 && step.consumed <= input.len(), "no progress at {before}");
    message.body.extend_from_slice(&input[step.data]);
    outcome.used += step.consumed;
    Ok(Step::Advanced)
}

/// Ends the last message; whether another one may follow it.
fn end_message(outcome: &mut Outcome, decoder: Option<BodyDecoder>) -> bool {
    let (Some(mut decoder), Some(message)) = (decoder, outcome.messages.last_mut()) else {
        return false;
    };
    message.end = decoder.finish().map_err(|error| error.rule);
    message.trailers = decoder.take_trailers();
    message.parsed.keep_alive && !message.parsed.upgrade
}

fn assert_same(before: &Head, after: &Head) {
    match (before, after) {
        (Head::Request(before), Head::Request(after)) => {
            assert_eq!(before.method, after.method);
            assert_eq!(before.path, after.path);
            assert_eq!(before.authority, after.authority);
        }
        (Head::Response(before), Head::Response(after)) => {
            assert_eq!(before.status, after.status);
            let cookies = |head: &ResponseHead| head.headers.get_all(KnownName::SetCookie).count();
            assert_eq!(cookies(before), cookies(after));
        }
        _ => panic!("a request became a response"),
    }
}
