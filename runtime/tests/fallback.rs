//! Where io_uring is forbidden, `auto` takes epoll and says how to allow it. And running out of
//! descriptors is waited out. (A process
//! and one test of their own, as they change what the process may do.)

use ringway_runtime::{
    Backend, Config, ConnectOptions, Level, ListenOptions, Listener, Runtime, SockAddr, connect,
    sleep, spawn,
};
use std::net::SocketAddr;
use std::time::Duration;

#[test]
fn what_the_system_denies_is_coped_with() {
    forbidden_io_uring_means_epoll_and_a_notice();
    lack_of_descriptors_is_waited_out();
}

/// Makes `io_uring_setup` fail for the calling thread, as container runtimes do.
fn forbid_io_uring() {
    const LOAD: u16 = (libc::BPF_LD | libc::BPF_W | libc::BPF_ABS) as u16;
    const EQUAL: u16 = (libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K) as u16;
    const RETURN: u16 = (libc::BPF_RET | libc::BPF_K) as u16;
    let step = |code, jt, jf, k| libc::sock_filter { code, jt, jf, k };
    let mut filter = [
        // The number of the system call is the first word of what the filter sees.
        step(LOAD, 0, 0, 0),
        step(EQUAL, 0, 1, libc::SYS_io_uring_setup as u32),
        step(RETURN, 0, 0, libc::SECCOMP_RET_ERRNO | libc::EPERM as u32),
        step(RETURN, 0, 0, libc::SECCOMP_RET_ALLOW),
    ];
    let program = libc::sock_fprog { len: filter.len() as u16, filter: filter.as_mut_ptr() };
    // SAFETY: the first call takes numbers only; the second reads the filter, which outlives it.
    unsafe {
        assert_eq!(libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), 0);
        let mode = libc::SECCOMP_MODE_FILTER;
        assert_eq!(libc::prctl(libc::PR_SET_SECCOMP, mode, &raw const program), 0);
    }
}

fn forbidden_io_uring_means_epoll_and_a_notice() {
    std::thread::spawn(|| {
        forbid_io_uring();
        let rt = Runtime::new(Config::default()).expect("auto always finds something");
        assert_eq!(rt.backend(), Level::Epoll);
        let notice = rt.notice().expect("a word about it");
        assert!(notice.contains("seccomp") && notice.contains("io_uring_disabled"), "{notice}");
        for backend in [Backend::Uring, Backend::Uring511] {
            let config = Config { backend, ..Config::default() };
            let err = Runtime::new(config).expect_err("forbidden").to_string();
            assert!(err.contains("seccomp"), "{err}");
        }
    })
    .join()
    .expect("thread");
}

#[test]
fn levels_have_names() {
    for name in ["auto", "uring", "uring-5.11", "epoll"] {
        assert!(name.parse::<Backend>().is_ok(), "{name}");
    }
    assert_eq!(Level::Uring511.to_string(), "uring-5.11");
    let err = "io-uring".parse::<Backend>().expect_err("no level").to_string();
    assert!(err.contains("uring-5.11"), "it names what is allowed: {err}");
}

fn lack_of_descriptors_is_waited_out() {
    for backend in [Backend::Uring, Backend::Uring511, Backend::Epoll] {
        let Ok(mut rt) = Runtime::new(Config { backend, ..Config::default() }) else { continue };
        rt.block_on(async {
            let addr = SockAddr::from(SocketAddr::from(([127, 0, 0, 1], 0)));
            let listener = Listener::bind(&addr, &ListenOptions::default()).expect("bind");
            let addr = listener.local_addr().expect("addr");
            let client = connect(&addr, &ConnectOptions::default()).await.expect("connect");
            // No descriptor is free now, whatever this process has open elsewhere.
            let mut hoard = Vec::new();
            let limit = lower_limit(256);
            while let Ok(file) = std::fs::File::open("/dev/null") {
                hoard.push(file);
            }
            let accepted = spawn(async move { listener.accept().await.expect("accept") });
            let before = cpu_time();
            sleep(Duration::from_millis(120)).await;
            assert!(!accepted.is_finished());
            assert!(cpu_time() - before < Duration::from_millis(40), "a busy loop");
            hoard.clear();
            let (server, _) = accepted.await;
            server.write(ringway_runtime::Chunk::from_static(b"late"));
            assert_eq!(client.recv().await.expect("recv").expect("data").len(), 4);
            lower_limit(limit);
        });
    }
}

/// CPU time this thread has used.
fn cpu_time() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

/// Sets the limit of open files, and returns what it was.
fn lower_limit(to: u64) -> u64 {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: both calls get a pointer to a struct of ours that outlives them.
    unsafe {
        assert_eq!(libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit), 0);
        let was = limit.rlim_cur;
        limit.rlim_cur = to;
        assert_eq!(libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit), 0);
        was
    }
}
