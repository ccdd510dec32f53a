crate::tests! {}
