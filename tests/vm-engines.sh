# What cargo runs the engine tests with under `make vm-engines`: VM BUILD TEST [WORD...]
#
# A machine of its own for root and for an ordinary user, with each driver of cgroups, or those of
# them that KINDS names. Programs are copies for the reason that is in vm.sh.
set -eu
vm=$1 build=$2 test=${3#"$PWD/"}
shift 3
programs="$test $build/release/orlop"
[ ! -e target/reference/runc ] || programs="$programs target/reference/runc"
status=0
for kind in ${KINDS:-root/systemd root/cgroupfs tester/systemd tester/cgroupfs}; do
  user=${kind%/*} driver=${kind#*/}
  echo "== engines of $user, cgroups by $driver"
  "$vm" run -t 1800 -e CGROUP_DRIVER=$driver -e CHECK_COUNTS=1 -e USER_OF_ENGINES=$user \
    -e ORLOP="$PWD/$build/release/orlop" -- sh -euc '
      mkdir /var/orlop
      cp --parents --target-directory /var/orlop $0
      mount --bind /var/orlop/target target
      directory=/run/orlop-engines
      if [ "$USER_OF_ENGINES" = root ]; then
        export DOCKER_HOST="unix://$directory/docker.sock" DOCKER_CONFIG="$directory"
        exec "$@"
      fi
      install -d -o "$USER_OF_ENGINES" "$directory" "$directory/home"
      export XDG_RUNTIME_DIR="/run/user/$(id -u "$USER_OF_ENGINES")"
      exec runuser -u "$USER_OF_ENGINES" -- systemd-run --user --quiet --wait --collect --pipe \
        --same-dir -p Delegate=yes -E CGROUP_DRIVER -E CHECK_COUNTS -E ORLOP -E PATH \
        -E XDG_RUNTIME_DIR -E HOME="$directory/home" \
        -E DBUS_SESSION_BUS_ADDRESS="unix:path=$XDG_RUNTIME_DIR/bus" "$@"
      ' "$programs" "$PWD/$test" "$@" || status=1
done
exit $status
