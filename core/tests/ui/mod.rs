//! What the compiler says of the usual mistakes in handlers.
//!
//! The messages are part of the interface: each must name the mistake and what to write instead. They
//! come from the compiler that the workspace is built with, which also decides how much of a type's path
//! it prints: after a change of compiler or of public names, read the new ones before they are taken over
//! by `TRYBUILD=overwrite`.

#[test]
fn usual_mistakes_are_explained() {
    trybuild::TestCases::new().compile_fail("tests/ui/mistakes/*.rs");
}
