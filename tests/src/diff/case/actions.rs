//! What servers do: `ACTION ; ACTION …`.

use super::Action;
use crate::diff::text::Word;
use crate::h2;
use anyhow::{Context, Result, bail};

/// Actions separated by `;`.
pub(super) fn parse(words: &[Word]) -> Result<Vec<Action>> {
    words
        .split(|word| matches!(word, Word::Bare(w) if w == ";"))
        .filter(|part| !part.is_empty())
        .map(action)
        .collect()
}

fn action(words: &[Word]) -> Result<Action> {
    let rest = &words[1..];
    let argument = || rest.first().context("an argument is missing");
    let status = || argument()?.number().map(|status| status as u16);
    let lines = |from: usize| rest.iter().skip(from).map(Word::text).collect::<Vec<_>>();
    Ok(match words[0].text().as_str() {
        "early" => Action::Early,
        "body" => Action::Body,
        "close" => Action::Close,
        "reset" => Action::Reset,
        "fin" => Action::Fin,
        "hang" => Action::Hang,
        "echo" => Action::Echo,
        "end" => Action::End,
        "recv-all" => Action::RecvAll,
        "recv" => Action::Recv(argument()?.number()?),
        "wait" => Action::Wait(argument()?.duration()?),
        "send" => Action::Send(argument()?.bytes()),
        "reply" => {
            let body = rest.get(1).map(Word::bytes).unwrap_or_default();
            Action::Reply(status()?, body, lines(2))
        }
        "chunked" => chunked(status()?, &rest[1..])?,
        "head" => Action::Head(status()?, lines(1)),
        "trailers" => Action::Trailers(lines(0)),
        "rst" => Action::Rst(error_code(argument()?)?),
        "goaway" => Action::Goaway(
            argument()?.number()? as u32,
            error_code(rest.get(1).context("expected: goaway LAST CODE")?)?,
        ),
        "grpc" => grpc(argument()?, &rest[1..])?,
        "grpc-only" => {
            let mut headers = vec!["content-type: application/grpc".to_owned()];
            headers.push(format!("grpc-status: {}", argument()?.text()));
            headers.extend(lines(1));
            Action::Chunked(200, vec![], headers, vec![])
        }
        other => bail!("unknown action {other}"),
    })
}

/// An error code of HTTP/2 by name or number.
pub(super) fn error_code(word: &Word) -> Result<u32> {
    let text = word.text();
    h2::code(&text).with_context(|| format!("unknown error code {text}"))
}

/// `chunked STATUS "data" … [headers "h: v" …] [trailers "h: v" …]`.
fn chunked(status: u16, words: &[Word]) -> Result<Action> {
    let (mut data, mut headers, mut trailers) = (Vec::new(), Vec::new(), Vec::new());
    let mut part = 0;
    for word in words {
        match word {
            Word::Bare(w) if w == "headers" => part = 1,
            Word::Bare(w) if w == "trailers" => part = 2,
            Word::Bare(w) => bail!("unexpected {w}"),
            Word::Quoted(bytes) if part == 0 => data.push(bytes.clone()),
            Word::Quoted(_) if part == 1 => headers.push(word.text()),
            Word::Quoted(_) => trailers.push(word.text()),
        }
    }
    Ok(Action::Chunked(status, data, headers, trailers))
}

/// `grpc "message" STATUS ["trailer: v" …]`.
fn grpc(message: &Word, rest: &[Word]) -> Result<Action> {
    let status = rest.first().context("expected: grpc \"message\" STATUS")?.number()?;
    let headers = vec!["content-type: application/grpc".to_owned()];
    let mut trailers = vec![format!("grpc-status: {status}")];
    trailers.extend(rest[1..].iter().map(Word::text));
    Ok(Action::Chunked(200, vec![grpc_frame(&message.bytes())], headers, trailers))
}

/// A message of gRPC with its prefix: not compressed, length.
pub(super) fn grpc_frame(message: &[u8]) -> Vec<u8> {
    [&[0], &(message.len() as u32).to_be_bytes()[..], message].concat()
}
