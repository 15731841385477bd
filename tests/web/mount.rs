//! The mounted routes: probes, status, metrics, a snapshot.

use std::collections::BTreeSet;

use actix_web::App;
use actix_web::http::{Method, StatusCode};
use actix_web::test::{TestRequest, call_service, init_service, read_body};
use quorate::machine::{Increment, WordCount};
use quorate::node::{Config, Handle, NodeBuilder};
use quorate::raft::{InstallStatus, Membership, Role};
use quorate::runtime::Placement;
use quorate::storage::Start;
use quorate::storage::memory::MemoryStorage;
use quorate::transport::InProcessNetwork;
use quorate::web::{NotReady, metrics, not_ready};
use serde_json::{Value, json};

use crate::{header, leader, story, until, words};

/// Asks a service with nothing but `handle` mounted at `path`.
async fn ask(
    handle: &Handle<WordCount>,
    mounted: &str,
    method: Method,
    uri: &str,
) -> (StatusCode, String) {
    let app = init_service(App::new().configure(handle.mount(mounted))).await;
    let request = TestRequest::with_uri(uri).method(method).to_request();
    let response = call_service(&app, request).await;
    let status = response.status();
    (status, String::from_utf8(read_body(response).await.to_vec()).unwrap())
}

async fn get(handle: &Handle<WordCount>, route: &str) -> (StatusCode, Value) {
    let (status, body) = ask(handle, "/raft", Method::GET, &format!("/raft/{route}")).await;
    (status, serde_json::from_str(&body).unwrap_or(Value::String(body)))
}

fn probe(reasons: &[&str]) -> (StatusCode, Value) {
    let status = if reasons.is_empty() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, json!({"ok": reasons.is_empty(), "reasons": reasons}))
}

#[test]
fn a_member_is_ready_once_it_knows_a_leader_and_until_it_stops() {
    story(async {
        let cluster = words(3).start().await.unwrap();
        let handle = cluster.handle(0).unwrap();
        assert_eq!(get(&handle, "livez").await, probe(&[]));
        assert_eq!(get(&handle, "readyz").await, probe(&["no_leader"]));
        until("a leader", || handle.status().raft.leader.is_some()).await;
        assert_eq!(get(&handle, "readyz").await, probe(&[]));
        cluster.stop_member(1).await;
        cluster.stop_member(2).await;
        until("nobody leads", || not_ready(&handle.status()) == [NotReady::NoLeader]).await;
        assert_eq!(get(&handle, "readyz").await, probe(&["no_leader"]));
        assert_eq!(get(&handle, "livez").await, probe(&[]));
        cluster.stop_member(0).await;
        assert_eq!(get(&handle, "readyz").await, probe(&["stopped"]));
        assert_eq!(get(&handle, "livez").await, probe(&["stopped"]));
    });
}

#[test]
fn every_reason_is_seen_in_the_status() {
    story(async {
        let cluster = words(1).start().await.unwrap();
        until("a leader", || leader(&cluster).is_some()).await;
        let whole = cluster.status(0).unwrap();
        assert_eq!(not_ready(&whole), []);
        let spoilt = |spoil: &dyn Fn(&mut quorate::node::NodeStatus)| {
            let mut status = whole.clone();
            spoil(&mut status);
            not_ready(&status)
        };
        assert_eq!(spoilt(&|s| s.raft.role = Role::PreCandidate), [NotReady::NoLeader]);
        assert_eq!(spoilt(&|s| s.raft.recovering = true), [NotReady::Recovering]);
        let receiving = InstallStatus::Receiving { index: 9, bytes: 0 };
        assert_eq!(spoilt(&|s| s.raft.install = receiving), [NotReady::Installing]);
        let refused = InstallStatus::Refused { commit: 9 };
        assert_eq!(spoilt(&|s| s.raft.install = refused), []);
        let undecodable = Some(quorate::raft::LogId::new(1, 9));
        assert_eq!(spoilt(&|s| s.raft.undecodable = undecodable), [NotReady::NeedsNewerBuild]);
        assert_eq!(spoilt(&|s| s.raft.commit = s.raft.applied + 10_000), []);
        assert_eq!(spoilt(&|s| s.raft.commit = s.raft.applied + 10_001), [NotReady::Behind]);
        let both = spoilt(&|s| {
            s.raft.leader = None;
            s.raft.recovering = true;
        });
        assert_eq!(both, [NotReady::NoLeader, NotReady::Recovering]);
        cluster.shutdown().await;
    });
}

/// A failure's reason names a file or quotes a panic: that is for the log alone.
#[test]
fn why_a_node_failed_is_not_told() {
    story(async {
        let storage = MemoryStorage::new();
        let network = InProcessNetwork::default();
        let node = NodeBuilder::new(0, WordCount::default())
            .config(Config { seed: 7, ..Config::default() })
            .storage(storage)
            .transport(network.endpoint(0))
            .start_mode(Start::Bootstrap(Membership::of_voters([0])))
            .placement(Placement::virtual_time())
            .apply_side(|link| {
                // Nobody applies: the end of the apply side is the end of the node.
                drop(link);
                nobody()
            })
            .start()
            .await
            .unwrap();
        let handle = node.handle();
        until("it failed", || !handle.status().running).await;
        let reason = handle.status().fatal.expect("a reason");
        assert_eq!(get(&handle, "readyz").await, probe(&["failed"]));
        assert_eq!(get(&handle, "livez").await, probe(&["failed"]));
        let (status, body) = get(&handle, "status").await;
        assert_eq!((status, &body["running"]), (StatusCode::OK, &json!(false)));
        assert!(body["fatal"].is_string());
        assert!(!body.to_string().contains(&reason), "{body}");
        assert!(metrics(&handle.status()).contains("quorate_failed{node=\"0\"} 1\n"));
        node.shutdown().await;
    });
}

/// An apply side that is gone already.
fn nobody() -> quorate::actors::ApplySide {
    use actix::{Actor, Context, Handler};
    use quorate::messages::ApplyMessage;
    struct Nobody;
    impl Actor for Nobody {
        type Context = Context<Nobody>;
    }
    impl Handler<ApplyMessage> for Nobody {
        type Result = ();
        fn handle(&mut self, _: ApplyMessage, _: &mut Context<Nobody>) {}
    }
    let decode = Box::new(|_: &mut dyn std::io::Read| unreachable!("there is no snapshot"));
    quorate::actors::ApplySide { recipient: Nobody.start().recipient(), decode }
}

#[test]
fn the_path_is_the_services_choice() {
    story(async {
        let cluster = words(1).start().await.unwrap();
        let handle = cluster.handle(0).unwrap();
        let paths =
            [("/raft", "/raft/livez"), ("/a/b/", "/a/b/livez"), ("", "/livez"), ("x", "/x/livez")];
        for (mounted, asked) in paths {
            let (status, _) = ask(&handle, mounted, Method::GET, asked).await;
            assert_eq!(status, StatusCode::OK, "mounted at {mounted:?}");
        }
        let (status, _) = ask(&handle, "/elsewhere", Method::GET, "/raft/livez").await;
        assert_eq!(status, StatusCode::NOT_FOUND);
        cluster.shutdown().await;
    });
}

#[test]
fn several_members_are_mounted_side_by_side() {
    story(async {
        let cluster = words(2).start().await.unwrap();
        let mut app = App::new();
        for node in cluster.ids() {
            app = app.configure(cluster.handle(node).unwrap().mount(&format!("/members/{node}")));
        }
        let app = init_service(app).await;
        for node in cluster.ids() {
            let request = TestRequest::get().uri(&format!("/members/{node}/status")).to_request();
            let body: Value =
                serde_json::from_slice(&read_body(call_service(&app, request).await).await)
                    .unwrap();
            assert_eq!((&body["node"], &body["running"]), (&json!(node), &json!(true)));
        }
        cluster.shutdown().await;
    });
}

#[test]
fn a_snapshot_is_taken_by_post_alone() {
    story(async {
        let cluster = words(1).start().await.unwrap();
        let handle = cluster.handle(0).unwrap();
        let trigger = async |method| ask(&handle, "/raft", method, "/raft/snapshot").await;
        let (status, body) = trigger(Method::POST).await;
        assert_eq!(status, StatusCode::CONFLICT, "{body}");
        assert!(body.contains("nothing_applied"), "{body}");
        until("a leader", || leader(&cluster).is_some()).await;
        handle.propose(Increment { word: "w".into() }).await.unwrap();
        let (status, _) = trigger(Method::GET).await;
        assert_eq!(status, StatusCode::METHOD_NOT_ALLOWED);
        assert_eq!(handle.status().raft.snapshot.index, 0);
        let (status, body) = trigger(Method::POST).await;
        assert_eq!(status, StatusCode::OK, "{body}");
        let taken: Value = serde_json::from_str(&body).unwrap();
        let current = handle.status().raft.snapshot;
        assert_eq!(taken, json!({"term": current.term, "index": current.index}));
        assert!(current.index > 0);
        // With nothing newer to take it is the same one.
        assert_eq!(trigger(Method::POST).await, (StatusCode::OK, body));
        cluster.shutdown().await;
        assert_eq!(trigger(Method::POST).await.0, StatusCode::SERVICE_UNAVAILABLE);
    });
}

#[test]
fn every_route_answers_head_names_its_methods_and_its_member() {
    story(async {
        let cluster = words(1).start().await.unwrap();
        until("a leader", || leader(&cluster).is_some()).await;
        let handle = cluster.handle(0).unwrap();
        let app = init_service(App::new().configure(handle.mount("/raft"))).await;
        for (route, allowed) in [
            ("livez", "GET, HEAD"),
            ("readyz", "GET, HEAD"),
            ("status", "GET, HEAD"),
            ("metrics", "GET, HEAD"),
            ("snapshot", "POST"),
        ] {
            let uri = format!("/raft/{route}");
            for method in [Method::PATCH, Method::HEAD] {
                let request = TestRequest::with_uri(&uri).method(method.clone()).to_request();
                let response = call_service(&app, request).await;
                assert_eq!(header(response.response(), "quorate-node"), Some("0"), "{uri}");
                if method == Method::HEAD && route != "snapshot" {
                    assert_eq!(response.status(), StatusCode::OK, "{uri}");
                } else {
                    assert_eq!(response.status(), StatusCode::METHOD_NOT_ALLOWED, "{uri}");
                    assert_eq!(header(response.response(), "allow"), Some(allowed), "{uri}");
                }
            }
        }
        let request = TestRequest::get().uri("/raft/nowhere").to_request();
        let response = call_service(&app, request).await;
        assert_eq!(response.status(), StatusCode::NOT_FOUND);
        assert_eq!(header(response.response(), "quorate-node"), Some("0"));
        cluster.shutdown().await;
    });
}

/// Prometheus and many readers of JSON keep numbers as `f64`: what exceeds 2^53 would be rounded in
/// silence.
#[test]
fn every_number_that_is_told_is_one_that_an_f64_holds() {
    const EXACT: u64 = 1 << 53;
    fn check(at: &str, value: &Value) {
        match value {
            Value::Object(fields) => {
                fields.iter().for_each(|(name, v)| check(&format!("{at}.{name}"), v))
            }
            Value::Array(items) => items.iter().for_each(|item| check(at, item)),
            Value::Number(number) => {
                assert!(number.as_u64().is_none_or(|whole| whole <= EXACT), "{at}: {number}");
            }
            _ => {}
        }
    }
    story(async {
        let cluster = words(1).start().await.unwrap();
        let handle = cluster.handle(0).unwrap();
        until("a leader", || leader(&cluster).is_some()).await;
        let mut status = handle.status();
        // A node that was founded today, not in 1970, and is started for the third time.
        status.incarnation = quorate::raft::unborn(1_800_000_000_123) + 3;
        let page = metrics(&status);
        for line in page.lines().filter(|line| !line.starts_with('#')) {
            let (name, _, value) = sample(line);
            assert!(value <= EXACT as f64, "{line}");
            assert_ne!(name, "quorate_incarnation");
        }
        assert!(page.contains("quorate_start_number{node=\"0\"} 3\n"), "{page}");
        let founded = "quorate_storage_founded_timestamp_seconds{node=\"0\"} 1800000000.123\n";
        assert!(page.contains(founded), "{page}");
        let told = serde_json::to_value(&status).unwrap();
        check("status", &told);
        assert_eq!(
            told["incarnation"],
            json!({"created_at_ms": 1_800_000_000_123_u64, "number": 3})
        );
        cluster.shutdown().await;
    });
}

/// One sample: its name, its labels, its value.
fn sample(line: &str) -> (&str, &str, f64) {
    let (name, rest) = line.split_once('{').expect("labels");
    let (labels, value) = rest.split_once("} ").expect("a value");
    (name, labels, value.parse().expect("a number"))
}

/// Each family has its help and type before its samples, and no name twice.
#[test]
fn metrics_are_what_prometheus_reads() {
    story(async {
        let cluster = words(1).start().await.unwrap();
        let handle = cluster.handle(0).unwrap();
        until("a leader", || leader(&cluster).is_some()).await;
        handle.propose(Increment { word: "w".into() }).await.unwrap();
        until("reported", || handle.status().raft.applied == handle.status().raft.last.index).await;
        let (status, page) = ask(&handle, "/raft", Method::GET, "/raft/metrics").await;
        assert_eq!(status, StatusCode::OK);
        assert!(page.ends_with('\n'));
        let (mut families, mut seen) = (BTreeSet::new(), BTreeSet::new());
        let mut lines = page.lines().peekable();
        while let Some(help) = lines.next() {
            let name =
                help.strip_prefix("# HELP ").and_then(|rest| rest.split(' ').next()).unwrap();
            let kind = lines.next().unwrap().strip_prefix(&format!("# TYPE {name} ")).unwrap();
            assert_eq!(kind == "counter", name.ends_with("_total"), "{name} is a {kind}");
            assert!(families.insert(name), "{name} twice");
            while let Some(line) = lines.next_if(|line| !line.starts_with('#')) {
                let (sampled, labels, _) = sample(line);
                assert_eq!(sampled, name);
                assert!(labels.starts_with("node=\"0\""), "{labels}");
                assert!(seen.insert((sampled, labels)), "{line} twice");
            }
        }
        let value = |wanted: &str| {
            let line = page.lines().find(|line| line.starts_with(wanted));
            sample(line.unwrap_or_else(|| panic!("no {wanted}"))).2
        };
        let raft = handle.status().raft;
        assert_eq!(value("quorate_commit_index"), raft.commit as f64);
        assert_eq!(value("quorate_applied_index"), raft.applied as f64);
        assert_eq!(value("quorate_role{node=\"0\",role=\"leader\"}"), 1.0);
        assert_eq!(value("quorate_role{node=\"0\",role=\"follower\"}"), 0.0);
        assert_eq!(value("quorate_elections_won_total"), 1.0);
        cluster.shutdown().await;
    });
}

/// A count that is added to the status has to be added to the metrics, too.
#[test]
fn no_count_is_missing_from_the_metrics() {
    story(async {
        let cluster = words(1).start().await.unwrap();
        let status = cluster.status(0).unwrap();
        let page = metrics(&status);
        let status = serde_json::to_value(&status).unwrap();
        let groups = [&status["raft"]["counters"], &status["sessions"]];
        let counts = groups.into_iter().flat_map(|group| group.as_object().unwrap().keys());
        for name in counts.map(String::as_str).chain(["log_writes", "log_steps"]) {
            assert!(page.contains(&format!("# TYPE quorate_{name}")), "{name} is missing");
        }
        cluster.shutdown().await;
    });
}
