//! A member that does not lead sends callers to the one that does, where it knows the address.

use actix_web::http::StatusCode;
use actix_web::test::{TestRequest, call_service, init_service, read_body};
use actix_web::web::{self, Data, Path};
use actix_web::{App, HttpRequest, ResponseError};
use quorate::machine::{Increment, WordCount};
use quorate::node::{Handle, ProposeError};
use quorate::web::{Addresses, Failure};

use crate::{header, leader, story, until, words};

async fn count(
    node: Data<Handle<WordCount>>,
    addresses: Data<Addresses>,
    request: HttpRequest,
    word: Path<String>,
) -> Result<String, Failure> {
    let counted = node.propose(Increment { word: word.into_inner().into() }).await;
    let times = counted.map_err(|error| addresses.redirect(error, &request))?;
    Ok(times.to_string())
}

fn three() -> Addresses {
    Addresses::new((0..3).map(|node| (node, format!("http://member-{node}:8080/"))))
}

#[test]
fn a_follower_leads_to_the_same_path_at_the_leader() {
    story(async {
        let cluster = words(3).start().await.unwrap();
        until("a leader", || leader(&cluster).is_some()).await;
        let leading = leader(&cluster).unwrap();
        for node in cluster.ids() {
            let handle = cluster.handle(node).unwrap();
            until("it is known", || handle.status().raft.leader == Some(leading)).await;
            let app = App::new()
                .app_data(Data::new(handle))
                .app_data(Data::new(three()))
                .route("/count/{word}", web::post().to(count));
            let app = init_service(app).await;
            let request = TestRequest::post().uri("/count/w%20x?a=b").to_request();
            let response = call_service(&app, request).await;
            if node == leading {
                assert_eq!(response.status(), StatusCode::OK);
                assert_eq!(read_body(response).await, "1");
                continue;
            }
            assert_eq!(response.status(), StatusCode::TEMPORARY_REDIRECT);
            let location = format!("http://member-{leading}:8080/count/w%20x?a=b");
            assert_eq!(header(response.response(), "location"), Some(&location[..]));
            assert_eq!(
                header(response.response(), "quorate-leader"),
                Some(&leading.to_string()[..])
            );
            assert!(!response.headers().contains_key("retry-after"));
        }
        cluster.shutdown().await;
    });
}

#[tokio::test]
async fn without_an_address_the_error_answers_by_itself() {
    let request = TestRequest::post().uri("/x").to_http_request();
    let unknown = [
        three().redirect(ProposeError::NotLeader { leader: Some(3) }, &request),
        three().redirect(ProposeError::NotLeader { leader: None }, &request),
        three().redirect(ProposeError::Busy, &request),
        Addresses::new([(1, "http://a\r\nset-cookie: b")])
            .redirect(ProposeError::NotLeader { leader: Some(1) }, &request),
    ];
    for failure in unknown {
        assert_eq!(failure.status_code(), StatusCode::SERVICE_UNAVAILABLE);
        let response = failure.error_response();
        assert_eq!(header(&response, "location"), None);
        assert_eq!(header(&response, "retry-after"), Some("1"));
    }
    assert_eq!((three().of(1), three().of(3)), (Some("http://member-1:8080/"), None));
}
