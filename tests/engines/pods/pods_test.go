// Package pods has what containerd's own tests of its CRI plugin do not have.
package pods

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/portforward"
	"k8s.io/client-go/tools/remotecommand"
	"k8s.io/client-go/transport/spdy"
	cri "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// patience is how long anything may take before it is taken for a hang.
const patience = 30 * time.Second

var (
	endpoint = flag.String("cri-endpoint", "", "where containerd listens")
	handler  = flag.String("runtime-handler", "", "the handler of pods")
	image    = flag.String("image", "", "the image of containers")
	ctx      = context.Background()
)

// subject is a pod with one container, and where it runs.
type subject struct {
	cri.RuntimeServiceClient
	pod, container, log string
}

// running starts a pod and its container, which runs a shell script and may differ otherwise.
func running(t *testing.T, script string, changes ...func(*cri.ContainerConfig)) subject {
	connection, err := grpc.NewClient(*endpoint, grpc.WithTransportCredentials(insecure.NewCredentials()))
	require.NoError(t, err)
	service, logs := cri.NewRuntimeServiceClient(connection), t.TempDir()
	config := &cri.PodSandboxConfig{
		Metadata:     &cri.PodSandboxMetadata{Name: t.Name(), Uid: t.Name(), Namespace: "tests"},
		LogDirectory: logs,
		Linux:        &cri.LinuxPodSandboxConfig{},
	}
	pod, err := service.RunPodSandbox(ctx,
		&cri.RunPodSandboxRequest{Config: config, RuntimeHandler: *handler})
	require.NoError(t, err)
	t.Cleanup(func() {
		id := pod.PodSandboxId
		_, err := service.StopPodSandbox(ctx, &cri.StopPodSandboxRequest{PodSandboxId: id})
		require.NoError(t, err)
		_, err = service.RemovePodSandbox(ctx, &cri.RemovePodSandboxRequest{PodSandboxId: id})
		require.NoError(t, err)
		require.NoError(t, connection.Close())
	})
	own := &cri.ContainerConfig{
		Metadata: &cri.ContainerMetadata{Name: "container"},
		Image:    &cri.ImageSpec{Image: *image},
		Command:  []string{"sh", "-c", script},
		LogPath:  "log",
		Linux:    &cri.LinuxContainerConfig{},
	}
	for _, change := range changes {
		change(own)
	}
	container, err := service.CreateContainer(ctx, &cri.CreateContainerRequest{
		PodSandboxId: pod.PodSandboxId, SandboxConfig: config, Config: own})
	require.NoError(t, err)
	id := container.ContainerId
	_, err = service.StartContainer(ctx, &cri.StartContainerRequest{ContainerId: id})
	require.NoError(t, err)
	return subject{service, pod.PodSandboxId, id, filepath.Join(logs, "log")}
}

func (s subject) exec(seconds int64, words ...string) (*cri.ExecSyncResponse, error) {
	return s.ExecSync(ctx,
		&cri.ExecSyncRequest{ContainerId: s.container, Cmd: words, Timeout: seconds})
}

func (s subject) succeeds(script string) bool {
	answer, err := s.exec(0, "sh", "-c", script)
	return err == nil && answer.ExitCode == 0
}

func eventually(t *testing.T, holds func() bool) {
	require.Eventually(t, holds, patience, 50*time.Millisecond)
}

// A probe says what it found by its status; one that takes too long is ended.
func TestProbes(t *testing.T) {
	subject := running(t, "echo fine > /state; exec sleep 1000")
	eventually(t, func() bool { return subject.succeeds("grep fine /state") })
	answer, err := subject.exec(30, "sh", "-c", "echo out; echo err >&2; exit 3")
	require.NoError(t, err)
	require.Equal(t, "out\n err\n 3",
		fmt.Sprint(string(answer.Stdout), " ", string(answer.Stderr), " ", answer.ExitCode))
	_, err = subject.exec(1, "sleep", "4321")
	require.ErrorContains(t, err, "timeout")
	require.True(t, subject.succeeds("! ps | grep -v grep | grep 'sleep 4321'"))
	_, err = subject.exec(30, "nosuch")
	require.ErrorContains(t, err, `exec: "nosuch": executable file not found in $PATH`)
}

func TestPortsAreForwarded(t *testing.T) {
	subject := running(t, "exec nc -ll -p 8080 -e cat")
	eventually(t, func() bool { return subject.succeeds("cat /proc/net/tcp* | grep ':1F90 .* 0A '") })
	answer, err := subject.PortForward(ctx,
		&cri.PortForwardRequest{PodSandboxId: subject.pod, Port: []int32{8080}})
	require.NoError(t, err)
	address, err := url.Parse(answer.Url)
	require.NoError(t, err)
	transport, upgrader, err := spdy.RoundTripperFor(&rest.Config{})
	require.NoError(t, err)
	dialer := spdy.NewDialer(upgrader, &http.Client{Transport: transport}, "POST", address)
	stop, ready, failed := make(chan struct{}), make(chan struct{}), make(chan error, 1)
	forwarder, err := portforward.New(dialer, []string{"0:8080"}, stop, ready, io.Discard, io.Discard)
	require.NoError(t, err)
	go func() { failed <- forwarder.ForwardPorts() }()
	defer close(stop)
	select {
	case <-ready:
	case err := <-failed:
		require.NoError(t, err)
	}
	ports, err := forwarder.GetPorts()
	require.NoError(t, err)
	stream, err := net.Dial("tcp", fmt.Sprintf("localhost:%d", ports[0].Local))
	require.NoError(t, err)
	defer stream.Close()
	require.NoError(t, stream.SetDeadline(time.Now().Add(patience)))
	_, err = stream.Write([]byte("there and back"))
	require.NoError(t, err)
	echo := make([]byte, len("there and back"))
	_, err = io.ReadFull(stream, echo)
	require.NoError(t, err)
	require.Equal(t, "there and back", string(echo))
}

func TestAttach(t *testing.T) {
	subject := running(t, "read line; echo got $line; echo no >&2",
		func(config *cri.ContainerConfig) {
			// Else an attached client leaves as soon as it has no more to say.
			config.Stdin, config.StdinOnce = true, true
		})
	answer, err := subject.Attach(ctx, &cri.AttachRequest{
		ContainerId: subject.container, Stdin: true, Stdout: true, Stderr: true})
	require.NoError(t, err)
	address, err := url.Parse(answer.Url)
	require.NoError(t, err)
	executor, err := remotecommand.NewSPDYExecutor(&rest.Config{}, "POST", address)
	require.NoError(t, err)
	var stdout, stderr bytes.Buffer
	require.NoError(t, executor.StreamWithContext(ctx, remotecommand.StreamOptions{
		Stdin: strings.NewReader("a line\n"), Stdout: &stdout, Stderr: &stderr}))
	require.Equal(t, []string{"got a line\n", "no\n"}, []string{stdout.String(), stderr.String()})
}

func TestLogsAreReopened(t *testing.T) {
	subject := running(t,
		"echo before; until [ -e /go ]; do sleep 0.1; done; echo after; exec sleep 1000")
	holds := func(path, text string) func() bool {
		return func() bool {
			content, err := os.ReadFile(path)
			return err == nil && strings.Contains(string(content), text)
		}
	}
	log, old := subject.log, subject.log+".1"
	eventually(t, holds(log, " before\n"))
	require.NoError(t, os.Rename(log, old))
	_, err := subject.ReopenContainerLog(ctx,
		&cri.ReopenContainerLogRequest{ContainerId: subject.container})
	require.NoError(t, err)
	require.True(t, subject.succeeds(": > /go"))
	eventually(t, holds(log, " after\n"))
	require.False(t, holds(log, "before")())
	require.False(t, holds(old, "after")())
}

// Kubernetes does not pause, though containerd can.
func TestPause(t *testing.T) {
	subject := running(t, "exec sleep 1000")
	ctr := func(words ...string) string {
		address := strings.TrimPrefix(*endpoint, "unix://")
		words = append([]string{"--address", address, "--namespace", "k8s.io", "tasks"}, words...)
		output, err := exec.Command("ctr", words...).CombinedOutput()
		require.NoError(t, err, string(output))
		return string(output)
	}
	status := func() string {
		for _, line := range strings.Split(ctr("list"), "\n") {
			if strings.HasPrefix(line, subject.container) {
				words := strings.Fields(line)
				return words[len(words)-1]
			}
		}
		return ""
	}
	ctr("pause", subject.container)
	require.Equal(t, "PAUSED", status())
	ctr("resume", subject.container)
	require.Equal(t, "RUNNING", status())
	require.True(t, subject.succeeds("true"))
}

// What is mounted below a volume is as read-only as that, if it is asked for.
func TestRecursiveReadOnly(t *testing.T) {
	volume := t.TempDir()
	below := filepath.Join(volume, "below")
	require.NoError(t, os.Mkdir(below, 0o755))
	require.NoError(t, syscall.Mount("below", below, "tmpfs", 0, ""))
	t.Cleanup(func() { require.NoError(t, syscall.Unmount(below, 0)) })
	for _, recursive := range []bool{false, true} {
		t.Run(fmt.Sprint(recursive), func(t *testing.T) {
			subject := running(t, "exec sleep 1000", func(config *cri.ContainerConfig) {
				config.Mounts = []*cri.Mount{{HostPath: volume, ContainerPath: "/volume",
					Readonly: true, RecursiveReadOnly: recursive}}
			})
			require.False(t, subject.succeeds("touch /volume/x"))
			require.Equal(t, !recursive, subject.succeeds("touch /volume/below/x"))
		})
	}
}
