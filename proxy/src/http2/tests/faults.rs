//! Seeded runs: many streams at once over a network that delays, splits and loses, with tiny
//! windows, resets from both ends, drains in the middle. Whatever comes whole must be right, and
//! nothing may be left. `RINGWAY_SIM_SEED=n` replays one run, `RINGWAY_SIM_RUNS=n` makes more.

use super::*;

const REQUESTS: usize = 8;
const CLIENTS: u64 = 6;

fn chance(percent: u64) -> bool {
    runtime::rand_below(100) < percent
}

fn byte(number: u64, at: usize) -> u8 {
    (number.wrapping_mul(131) ^ (at as u64 * 7)) as u8
}

fn body_of(number: u64, len: usize) -> Vec<u8> {
    (0..len).map(|at| byte(number, at)).collect()
}

async fn pause() {
    if chance(20) {
        runtime::sleep(Duration::from_micros(runtime::rand_below(3000))).await;
    }
}

/// Sends `bytes` in pieces, as fast as they go.
async fn send(stream: &StreamHandle, bytes: &[u8]) -> Result<(), StreamEnd> {
    let piece = 1 + runtime::rand_below(20_000) as usize;
    for part in bytes.chunks(piece) {
        pause().await;
        poll_fn(|cx| stream.poll_queued_below(cx, 10_000)).await?;
        stream.send_data(Chunk::copy_from(part), false);
    }
    let mut trailers = HeaderMap::new();
    if chance(30) {
        trailers.append("x-length", bytes.len().to_string().as_bytes());
        stream.send_trailers(&trailers);
    } else {
        stream.send_data(Chunk::new(), true);
    }
    Ok(())
}

/// Reads a body, checks it, sometimes gives up.
async fn read(stream: &StreamHandle, number: u64) -> Result<usize, StreamEnd> {
    let mut trailers = HeaderMap::new();
    let mut len = 0;
    while let Frame::Data(chunk) = next(stream, &mut trailers).await? {
        for (at, got) in chunk.iter().enumerate() {
            assert_eq!(*got, byte(number, len + at), "byte {} of {number}", len + at);
        }
        len += chunk.len();
        pause().await;
    }
    if let Some(told) = trailers.get("x-length") {
        assert_eq!(told, len.to_string().as_bytes(), "the length of {number}");
    }
    Ok(len)
}

/// The server: reads the request's body and answers with as many bytes as the path says.
async fn serve(stream: StreamHandle) {
    let mut head = RequestHead::default();
    if stream.take_request(&mut head).is_err() {
        return;
    }
    let path = String::from_utf8(head.path).expect("digits");
    let mut parts = path.split('/').skip(1).map(|part| part.parse::<u64>().expect("a number"));
    let (Some(number), Some(len)) = (parts.next(), parts.next()) else { panic!("{path}") };
    if chance(5) {
        return stream.reset(ErrorCode::INTERNAL_ERROR);
    }
    if chance(90) && read(&stream, number).await.is_err() {
        return;
    }
    let mut answer = ResponseHead::new(200);
    answer.headers.append("content-length", len.to_string().as_bytes());
    stream.send_response(&answer, false);
    let bytes = body_of(number, len as usize);
    if chance(5) {
        stream.send_data(Chunk::copy_from(&bytes[..bytes.len() / 2]), false);
        return;
    }
    let _ = send(&stream, &bytes).await;
}

/// One request; true if it was answered whole.
async fn exchange(session: &Rc<Session>, number: u64) -> bool {
    let Some(stream) = session.open().map(Rc::new) else { return false };
    let sizes = [0, 3, 900, 17_000, 90_000];
    let size = || sizes[runtime::rand_below(5) as usize];
    let (up, down) = (size(), size());
    let path = format!("/{number}/{down}");
    stream.send_request(&request(Method::Post, &path), None, false);
    let writer = Rc::clone(&stream);
    let bytes = body_of(number, up);
    let writing = runtime::spawn(async move {
        let _ = send(&writer, &bytes).await;
    });
    let give_up = chance(5).then(|| Duration::from_micros(runtime::rand_below(5000)));
    let answer = async {
        let (head, _) = response(&stream).await?;
        assert_eq!(head.status, 200);
        read(&stream, number).await
    };
    let limit = give_up.unwrap_or(Duration::from_secs(60));
    let answered = match runtime::timeout(limit, answer).await {
        Ok(Ok(len)) => {
            assert_eq!(len, down, "an answer cut short that looks whole");
            true
        }
        Ok(Err(_)) => false,
        Err(_) => {
            assert!(give_up.is_some(), "request {number} is stuck");
            false
        }
    };
    writing.abort();
    answered
}

async fn scenario(seed: u64) {
    let Some((near, far)) = try_connection().await else { return };
    let (here, there) = (Bench::new(), Bench::new());
    let window = [700, 3000, 65_535, 1 << 20][(seed % 4) as usize];
    let options = options(|options| {
        options.initial_stream_window = window;
        options.initial_connection_window = 65_535 + window;
        options.max_concurrent_streams = 4;
    });
    let server = server(far, &options, &there, serve);
    let client = client(near, &options, &here);
    let answered = Rc::new(std::cell::Cell::new(0));
    let tasks: Vec<_> = (0..CLIENTS)
        .map(|number| {
            let (session, answered) = (Rc::clone(&client.session), Rc::clone(&answered));
            runtime::spawn(async move {
                for turn in 0..REQUESTS {
                    let number = number * 100 + turn as u64;
                    answered.set(answered.get() + u32::from(exchange(&session, number).await));
                    runtime::sleep(Duration::from_millis(1)).await;
                }
            })
        })
        .collect();
    if seed.is_multiple_of(3) {
        runtime::sleep(Duration::from_millis(runtime::rand_below(40))).await;
        server.session.drain(Duration::from_secs(1));
    }
    for task in tasks {
        task.await;
    }
    client.session.drain(Duration::ZERO);
    client.driver.await;
    server.driver.await;
    // Handlers notice, and let go of their streams.
    runtime::sleep(Duration::from_secs(1)).await;
    for session in [&client.session, &server.session] {
        session.check_rest().unwrap_or_else(|left| panic!("seed {seed}: {left}"));
    }
    here.check_rest();
    there.check_rest();
}

fn seeds(runs: u64) -> std::ops::Range<u64> {
    let asked = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    match asked("RINGWAY_SIM_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..asked("RINGWAY_SIM_RUNS").unwrap_or(runs),
    }
}

#[test]
fn whatever_the_timing_bodies_arrive() {
    for seed in seeds(60) {
        println!("seed {seed}");
        run_with(seed, Faults::default(), move || scenario(seed));
    }
}

#[test]
fn lost_connections_leave_nothing() {
    for seed in seeds(60) {
        println!("seed {seed}");
        let faults = Faults { reset: 0.005, no_buffers: 0.2, ..Faults::default() };
        run_with(seed, faults, move || scenario(seed));
    }
}
