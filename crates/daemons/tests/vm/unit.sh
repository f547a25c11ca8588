# What the unit runs: the command, in the leaf of the delegated cgroup, beside which there may be groups with controllers.
. /run/job/told
group=/sys/fs/cgroup$(sed -n 's/^0:://p' /proc/self/cgroup)
if [ "${group##*/}" != host ]; then
  # Before systemd 254, which does it by `DelegateSubgroup=`.
  mkdir "$group/host" && echo $$ >"$group/host/cgroup.procs"
else
  group=${group%/host}
fi
for controller in $(cat "$group/cgroup.controllers"); do
  echo "+$controller" >"$group/cgroup.subtree_control"
done
echo "kernel $(uname -r), $(/lib/systemd/systemd --version | head -n 1), in $group: $(cat "$group/cgroup.subtree_control")"
"$@"
echo $? >/run/job/status
