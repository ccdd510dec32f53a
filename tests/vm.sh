# What cargo runs a test with under `make vm-test`: VM BUILD TEST [WORD...]
#
# Programs that the machine executes from the shared directory crash now and then: an emulated
# processor does not notice that the device has put other instructions into a page. So copies of
# them, on the machine's own disk, are mounted over `target`, where the tests are written as well.
#
# With VM_USER=ordinary it is the machine's ordinary user who runs the tests, from his copies.
set -eu
vm=$1 build=$2 test=${3#"$PWD/"}
shift 3
programs="$test $build/release/orlop $build/debug/orlop"
programs="$programs $build/debug/examples/probe $build/debug/examples/without"
[ ! -e target/reference/runc ] || programs="$programs target/reference/runc"
environment="-t 1800 -e CHECK_COUNTS=1 -e SLOW=1"
for name in RUNTIME DRIVER TORTURE; do
  eval "value=\${$name-}"
  [ -z "$value" ] || environment="$environment -e $name=$value"
done
if [ "${VM_USER-}" = ordinary ]; then
  exec "$vm" run -u $environment -- sh -euc '
    mkdir /var/tmp/orlop
    cp --parents --target-directory /var/tmp/orlop $0
    export ORLOP="/var/tmp/orlop/$1/release/orlop" test="/var/tmp/orlop/$2"
    shift 2
    exec "$test" "$@"' "$programs" "$build" "$test" "$@"
fi
exec "$vm" run $environment -e ORLOP="$PWD/$build/release/orlop" -- sh -euc '
    mkdir /var/orlop
    cp --parents --target-directory /var/orlop $0
    mount --bind /var/orlop/target target
    exec "$@"' "$programs" "$PWD/$test" "$@"
