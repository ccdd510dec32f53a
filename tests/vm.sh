# What cargo runs a test with under `make vm-test`: VM BUILD TEST [WORD...]
#
# Programs that the machine executes from the shared directory crash now and then: an emulated
# processor does not notice that the device has put other instructions into a page. So copies of
# them, on the machine's own disk, are mounted over `target`, where the tests are written as well.
set -eu
vm=$1 build=$2 test=${3#"$PWD/"}
shift 3
programs="$test $build/release/orlop $build/debug/orlop"
programs="$programs $build/debug/examples/probe $build/debug/examples/without"
[ ! -e target/reference/runc ] || programs="$programs target/reference/runc"
exec "$vm" run -t 1800 -e CHECK_COUNTS=1 -e SLOW=1 -e ORLOP="$PWD/$build/release/orlop" \
  ${RUNTIME:+-e RUNTIME="$RUNTIME"} -- sh -euc '
    mkdir /var/orlop
    cp --parents --target-directory /var/orlop $0
    mount --bind /var/orlop/target target
    exec "$@"' "$programs" "$PWD/$test" "$@"
