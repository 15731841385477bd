//! Commands get committed, by as many peers as can be reached, at what cost.

use crate::command::Command;
use crate::world::World;

/// Three commands at three indexes.
pub async fn basic_agree(world: World) {
    for index in 1..=3 {
        assert_eq!(world.committed(index).0, 0, "{index} is committed before it is there");
        assert_eq!(world.one(100 * index, 3, false).await, index);
    }
}

/// A large command is sent to each peer once.
pub async fn rpc_bytes(world: World) {
    world.one(99, 3, false).await;
    let before = world.network().traffic().bytes;
    let mut sent = 0;
    for index in 2..=11 {
        let text = text(&world, 5_000);
        sent += text.len() as u64;
        assert_eq!(world.one(Command::Text(text), 3, false).await, index);
    }
    let bytes = world.network().traffic().bytes - before;
    let most = 3 * sent + 50_000;
    assert!(bytes <= most, "{bytes} bytes for {sent} bytes of commands");
}

fn text(world: &World, length: usize) -> String {
    (0..length).map(|_| char::from(b'a' + world.between(0, 25) as u8)).collect()
}
