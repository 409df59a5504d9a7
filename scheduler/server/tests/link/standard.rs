//! What every gRPC server has: health for balancers, reflection for people with grpcurl.

use tokio_stream::StreamExt;
use tonic::transport::Channel;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;
use tonic_reflection::pb::v1::ServerReflectionRequest;
use tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient;
use tonic_reflection::pb::v1::server_reflection_request::MessageRequest;
use tonic_reflection::pb::v1::server_reflection_response::MessageResponse;

use crate::world::{Tweak, World};

const LINK: &str = "davit.executor.v1.Link";

#[tokio::test(flavor = "multi_thread")]
async fn health_is_told_until_the_end_and_the_link_describes_itself() {
    let world = World::sqlite().await;
    let mut replica = world.replica(Tweak::default()).await;
    let address = format!("http://{}", replica.address);
    let channel = Channel::from_shared(address).unwrap();
    let channel = channel.connect().await.unwrap();

    let mut health = HealthClient::new(channel.clone());
    let asked = HealthCheckRequest {
        service: LINK.to_owned(),
    };
    let watched = health.watch(asked).await.unwrap();
    let mut watched = watched.into_inner();
    let first = watched.next().await.unwrap().unwrap();
    assert_eq!(first.status(), ServingStatus::Serving);

    let mut reflection = ServerReflectionClient::new(channel);
    let list = ServerReflectionRequest {
        host: String::new(),
        message_request: Some(MessageRequest::ListServices(String::new())),
    };
    let answers = reflection.server_reflection_info(tokio_stream::once(list));
    let mut answers = answers.await.unwrap().into_inner();
    let answer = answers.next().await.unwrap().unwrap().message_response;
    let Some(MessageResponse::ListServicesResponse(services)) = answer else {
        panic!("no list: {answer:?}");
    };
    let names: Vec<_> = services.service.iter().map(|found| &found.name).collect();
    assert!(names.iter().any(|name| *name == LINK), "{names:?}");

    replica.stop();
    let last = watched.next().await.unwrap().unwrap();
    assert_eq!(last.status(), ServingStatus::NotServing);
    assert!(
        watched.next().await.is_none(),
        "who watches holds up nobody's end"
    );
}
