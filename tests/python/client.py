"""Airflow's public Python client (apache-airflow-client 3.3) against an Airlock server.

    python client.py --url http://127.0.0.1:8080 --token TOKEN [--dag-id hello] [--other-dag-id client_dag]

The dag must be deployed; it must succeed when it is triggered without params, within two minutes. So must the other dag, as
python.rs has it. Ends with 0 if
every call did what it must, else with 1 and a line that says which did not. The client checks each answer: what is
required must be there, and what is an enum must be one of its values.
"""

import argparse
import json
import sys
import time
import traceback
import uuid
from datetime import datetime, timezone

import airflow_client.client as airflow
from airflow_client.client.exceptions import ApiException

PATIENCE_SECONDS = 120


class Failed(Exception):
    """Something is not as it must be."""


def require(truth, what):
    if not truth:
        raise Failed(what)


def refused(status, call, *args, **kwargs):
    """Calls, and requires that the server refuses with `status` and says why."""
    try:
        call(*args, **kwargs)
    except ApiException as error:
        require(error.status == status, f"{call.__name__} answered {error.status}, not {status}: {error.body}")
        require(error.body and "detail" in error.body, f"{call.__name__} was refused without a detail: {error.body}")
        return
    raise Failed(f"{call.__name__} was not refused with {status}")


def until(what, look):
    """Waits until `look` answers something."""
    end = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < end:
        found = look()
        if found:
            return found
        time.sleep(0.1)
    raise Failed(f"{what} did not happen within {PATIENCE_SECONDS} s")


class Suite:
    def __init__(self, client, anonymous, dag_id, other_dag_id):
        self.client, self.anonymous, self.dag_id, self.other_dag_id = client, anonymous, dag_id, other_dag_id
        self.mark = uuid.uuid4().hex[:8]
        self.runs = airflow.DagRunApi(client)
        self.tasks = airflow.TaskInstanceApi(client)

    def version_and_health(self):
        require(airflow.VersionApi(self.anonymous).get_version().version, "there is no version")
        health = airflow.MonitorApi(self.anonymous).get_health()
        require(health.metadatabase.status == "healthy", f"the database is {health.metadatabase.status}")
        require(health.scheduler.status == "healthy", f"the scheduler is {health.scheduler.status}")

    def access(self):
        refused(401, airflow.DAGApi(self.anonymous).get_dags)
        wrong = airflow.Configuration(host=self.client.configuration.host, access_token="alk_wrong")
        with airflow.ApiClient(wrong) as client:
            refused(401, airflow.DAGApi(client).get_dags)

    def dags(self):
        dags = airflow.DAGApi(self.client)
        listed = dags.get_dags(limit=100, order_by=["dag_id"])
        require(self.dag_id in [dag.dag_id for dag in listed.dags], f"`{self.dag_id}` is not listed")
        require(listed.total_entries >= 1, "total_entries counts nothing")
        found = dags.get_dags(dag_id_pattern=self.dag_id)
        require(found.total_entries >= 1, "dag_id_pattern does not find the dag")
        require(dags.get_dag(self.dag_id).dag_id == self.dag_id, "get_dag answers another dag")
        details = dags.get_dag_details(self.dag_id)
        require(details.latest_dag_version.version_number >= 1, "the dag has no version")
        for is_paused in (True, False):
            patched = dags.patch_dag(self.dag_id, airflow.DAGPatchBody(is_paused=is_paused))
            require(patched.is_paused is is_paused, f"is_paused={is_paused} was not taken over")
        refused(404, dags.get_dag, "no_such_dag")
        tasks = airflow.TaskApi(self.client)
        listed = tasks.get_tasks(self.dag_id)
        require(listed.total_entries == len(listed.tasks) > 0, "there are no tasks")
        task = tasks.get_task(self.dag_id, listed.tasks[0].task_id)
        require(task.task_id == listed.tasks[0].task_id, "get_task answers another task")
        versions = airflow.DagVersionApi(self.client)
        number = versions.get_dag_versions(self.dag_id).dag_versions[0].version_number
        require(versions.get_dag_version(self.dag_id, number).dag_id == self.dag_id, "the version is of another dag")

    def trigger(self):
        run_id = f"client__{self.mark}"
        date = datetime(2000, 1, 1, tzinfo=timezone.utc).replace(microsecond=int(self.mark, 16) % 1_000_000)
        body = airflow.TriggerDAGRunPostBody(dag_run_id=run_id, logical_date=date, note="by the client")
        run = self.runs.trigger_dag_run(self.dag_id, body)
        require(run.dag_run_id == run_id, f"the run is called {run.dag_run_id}")
        require(run.logical_date == date, f"the logical_date is {run.logical_date}, not {date}")
        require(run.note == "by the client" and run.run_type == "manual", f"the run is not as it was asked for: {run}")
        refused(409, self.runs.trigger_dag_run, self.dag_id, body)
        again = airflow.TriggerDAGRunPostBody(dag_run_id=f"{run_id}_2", logical_date=date)
        refused(409, self.runs.trigger_dag_run, self.dag_id, again)
        refused(404, self.runs.trigger_dag_run, "no_such_dag", airflow.TriggerDAGRunPostBody())
        self.run_id = run_id
        run = until("the end of the run", self.ended)
        require(run.state == "success", f"the run ended as {run.state}")
        require(run.end_date and run.duration is not None, "a run that is over has no end")
        waited = self.runs.wait_dag_run_until_finished(self.dag_id, run_id, interval=1)
        require(waited["state"] == "success", f"who waits for the run is told {waited}")

    def ended(self):
        run = self.runs.get_dag_run(self.dag_id, self.run_id)
        return run if run.state in ("success", "failed") else None

    def lists(self):
        listed = self.runs.get_dag_runs("~", limit=5, order_by=["-run_after"], state=["success"])
        require(0 < len(listed.dag_runs) <= 5, "runs of all dags are not listed")
        run = self.runs.get_dag_run(self.dag_id, self.run_id)
        around = self.runs.get_dag_runs(
            self.dag_id, logical_date_gte=run.logical_date, logical_date_lte=run.logical_date
        )
        require([one.dag_run_id for one in around.dag_runs] == [self.run_id], "the range of dates finds other runs")
        body = airflow.DAGRunsBatchBody(dag_ids=[self.dag_id], page_limit=3, states=["success"])
        require(self.runs.get_list_dag_runs_batch("~", body).dag_runs, "the batch finds no run")
        patched = self.runs.patch_dag_run(self.dag_id, self.run_id, airflow.DAGRunPatchBody(note="<b>&"))
        require(patched.note == "<b>&", f"the note is {patched.note!r}")

    def task_instances(self):
        listed = self.tasks.get_task_instances(self.dag_id, self.run_id)
        require(listed.total_entries == len(listed.task_instances) > 0, "the run has no task instances")
        require(all(one.state == "success" for one in listed.task_instances), "not every task succeeded")
        self.task_id = listed.task_instances[0].task_id
        one = self.tasks.get_task_instance(self.dag_id, self.run_id, self.task_id)
        require(one.try_number == 1 and one.id == listed.task_instances[0].id, f"it is another instance: {one}")
        everywhere = self.tasks.get_task_instances("~", "~", limit=2, state=["success"])
        require(everywhere.task_instances, "instances of all runs are not listed")
        body = airflow.TaskInstancesBatchBody(dag_ids=[self.dag_id], page_limit=2)
        require(self.tasks.get_task_instances_batch("~", "~", body).task_instances, "the batch finds no instance")
        first = self.tasks.get_task_instances(self.dag_id, self.run_id, cursor="", limit=1)
        second = self.tasks.get_task_instances(self.dag_id, self.run_id, cursor=first.next_cursor, limit=100)
        paged = [one.id for one in first.task_instances + second.task_instances]
        require(paged == [one.id for one in listed.task_instances], f"pages by cursors have {paged}")
        require(second.next_cursor is None and second.previous_cursor, "the last page leads on, or not back")
        tries = self.tasks.get_task_instance_tries(self.dag_id, self.run_id, self.task_id)
        require([one.try_number for one in tries.task_instances] == [1], f"the tries are {tries}")
        self.tasks.get_task_instance_try_details(self.dag_id, self.run_id, self.task_id, 1)
        refused(404, self.tasks.get_task_instance, self.dag_id, self.run_id, "no_such_task")
        body = airflow.PatchTaskInstanceBody(note="looked at")
        patched = self.tasks.patch_task_instance(self.dag_id, self.run_id, self.task_id, body)
        require(patched.task_instances[0].note == "looked at", "the note was not taken over")
        body = airflow.PatchTaskInstanceBody(new_state="failed")
        shown = self.tasks.patch_task_instance_dry_run(self.dag_id, self.run_id, self.task_id, body)
        require(shown.task_instances[0].task_id == self.task_id, "dry_run answers another task")
        one = self.tasks.get_task_instance(self.dag_id, self.run_id, self.task_id)
        require(one.state == "success", "dry_run changed the state")

    def logs(self):
        events = []
        for one in self.tasks.get_task_instances(self.dag_id, self.run_id).task_instances:
            log = self.tasks.get_log(self.dag_id, self.run_id, one.task_id, 1, full_content=True)
            lines = log.content.actual_instance if log.content else []
            require(isinstance(lines, list), f"the log of `{one.task_id}` is not a list")
            events += [line if isinstance(line, str) else line.event for line in lines]
        require(events, "no task has written a log")
        refused(404, self.tasks.get_log, self.dag_id, self.run_id, self.task_id, 99)

    def xcoms(self):
        xcoms = airflow.XComApi(self.client)
        run = {"dag_id": self.dag_id, "dag_run_id": self.run_id}
        listed = xcoms.get_xcom_entries(**run, task_id="~")
        require(listed.total_entries >= 1, "no task has left an XCom")
        entry = listed.xcom_entries[0]
        native = xcoms.get_xcom_entry(**run, task_id=entry.task_id, xcom_key=entry.key)
        require(native.actual_instance.value is not None, f"the XCom has no value: {native}")
        key, value = f"client_{self.mark}", {"list": [1, 2.5, None], "text": "'; -- <script>"}
        body = airflow.XComCreateBody(key=key, value=value)
        task = {**run, "task_id": self.task_id}
        require(xcoms.create_xcom_entry(**task, x_com_create_body=body).value == value, "the XCom is not what was sent")
        refused(409, xcoms.create_xcom_entry, **task, x_com_create_body=body)
        updated = xcoms.update_xcom_entry(**task, xcom_key=key, x_com_update_body=airflow.XComUpdateBody(value=[1]))
        require(updated.value == [1], f"the XCom is {updated.value}")
        text = xcoms.get_xcom_entry(**task, xcom_key=key, stringify=True)
        require(text.actual_instance.value == "[1]", f"the XCom as text is {text.actual_instance.value!r}")
        xcoms.delete_xcom_entry(**task, xcom_key=key)
        refused(404, xcoms.get_xcom_entry, **task, xcom_key=key)

    def variables(self):
        variables = airflow.VariableApi(self.client)
        key = f"client/{self.mark}"
        body = airflow.VariableBody(key=key, value="a < b", description="by the client")
        made = variables.post_variable(body)
        require((made.key, made.value, made.is_encrypted) == (key, "a < b", True), f"the variable is {made}")
        refused(409, variables.post_variable, body)
        require(variables.get_variable(key).value == "a < b", "the variable reads otherwise")
        patched = variables.patch_variable(key, airflow.VariableBody(key=key, value={"n": 1}), update_mask=["value"])
        require(patched.value == '{"n":1}' and patched.description == "by the client", f"the variable is {patched}")
        require(variables.get_variables(variable_key_pattern=self.mark).total_entries == 1, "it is not listed")
        variables.delete_variable(key)
        refused(404, variables.get_variable, key)

    def connections(self):
        connections = airflow.ConnectionApi(self.client)
        name, secret = f"client_{self.mark}", f"hunter2-{self.mark}"
        body = airflow.ConnectionBody(
            connection_id=name, conn_type="http", host="example.org", port=8443, login="ada", password=secret,
            extra='{"token": "%s"}' % secret,
        )
        made = connections.post_connection(body)
        require((made.connection_id, made.port, made.login) == (name, 8443, "ada"), f"the connection is {made}")
        refused(409, connections.post_connection, body)
        read = connections.get_connection(name)
        require(secret not in read.model_dump_json(), "the password is shown")
        extra = '{"token": "%s"}' % secret
        changed = airflow.ConnectionBody(
            connection_id=name, conn_type="http", host="example.com", password=secret, extra=extra
        )
        # Unlike in Airflow, secrets do not go along to another host.
        refused(422, connections.patch_connection, name, changed, update_mask=["host"])
        patched = connections.patch_connection(name, changed, update_mask=["host", "password", "extra"])
        require(patched.host == "example.com" and patched.login == "ada", f"the connection is {patched}")
        require(connections.get_connections(connection_id_pattern=name).total_entries == 1, "it is not listed")
        connections.delete_connection(name)
        refused(404, connections.get_connection, name)

    def pools(self):
        pools = airflow.PoolApi(self.client)
        name = f"client_{self.mark}"
        require(pools.get_pool("default_pool").slots > 0, "the default pool has no slots")
        made = pools.post_pool(airflow.PoolBody(name=name, slots=2))
        require((made.slots, made.open_slots) == (2, 2), f"the pool is {made}")
        require(pools.patch_pool(name, airflow.PoolPatchBody(slots=3), update_mask=["slots"]).slots == 3, "slots")
        require(name in [pool.name for pool in pools.get_pools().pools], "the pool is not listed")
        pools.delete_pool(name)
        refused(404, pools.get_pool, name)

    def bulk(self):
        names = [f"bulk_{self.mark}_{number}" for number in (1, 2)]
        first, second = names
        bodies = [airflow.VariableBody(key=name, value="1") for name in names]
        variables = airflow.VariableApi(self.client)

        def change(*actions):
            wrapped = [airflow.ActionsInner4(action) for action in actions]
            return variables.bulk_variables(airflow.BulkBodyVariableBody(actions=wrapped))

        done = change(airflow.BulkCreateActionVariableBody(action="create", entities=bodies))
        require(done.create.success == names and not done.create.errors, f"the variables were not made: {done}")
        done = change(
            airflow.BulkCreateActionVariableBody(action="create", entities=bodies),
            airflow.BulkCreateActionVariableBody(action="create", action_on_existence="skip", entities=bodies),
            airflow.BulkUpdateActionVariableBody(
                action="update", entities=[airflow.VariableBody(key=first, value="2")]
            ),
            airflow.BulkDeleteActionVariableBody(action="delete", entities=[airflow.EntitiesInner4(second)]),
        )
        require(not done.create.success and done.create.errors[0]["status_code"] == 409, f"made again: {done.create}")
        require((done.update.success, done.delete.success) == ([first], [second]), f"not changed: {done}")
        require(variables.get_variable(first).value == "2", "the variable was not changed")
        listed = variables.get_variables(variable_key_pattern=f"{first}|{second}")
        require(listed.total_entries == 1, "a pattern with | finds other variables")
        variables.delete_variable(first)
        body = {"actions": [{"action": "create", "entities": [{"connection_id": first, "conn_type": "http"}]},
                            {"action": "delete", "entities": [first]}]}
        done = airflow.ConnectionApi(self.client).bulk_connections(airflow.BulkBodyConnectionBody.from_dict(body))
        require((done.create.success, done.delete.success) == ([first], [first]), f"connections: {done}")
        body = {"actions": [{"action": "create", "entities": [{"name": first, "slots": 2}]},
                            {"action": "delete", "entities": [first]}]}
        done = airflow.PoolApi(self.client).bulk_pools(airflow.BulkBodyPoolBody.from_dict(body))
        require((done.create.success, done.delete.success) == ([first], [first]), f"pools: {done}")
        body = {"actions": [{"action": "update", "entities": [{"dag_run_id": self.run_id, "note": "in bulk"}]}]}
        done = self.runs.bulk_dag_runs(self.dag_id, airflow.BulkBodyBulkDAGRunBody.from_dict(body))
        require(done.update.success == [f"{self.dag_id}.{self.run_id}"], f"runs: {done}")
        body = {"actions": [{"action": "update", "entities": [{"task_id": self.task_id, "note": "in bulk"}]}]}
        body = airflow.BulkBodyBulkTaskInstanceBody.from_dict(body)
        done = self.tasks.bulk_task_instances(self.dag_id, self.run_id, body)
        require(len(done.update.success) == 1 and not done.update.errors, f"task instances: {done}")
        one = self.tasks.get_task_instance(self.dag_id, self.run_id, self.task_id)
        require(one.note == "in bulk", f"the note is {one.note!r}")

    def around(self):
        stats = airflow.DagStatsApi(self.client).get_dag_stats(dag_ids=[self.dag_id])
        counts = {stat.state: stat.count for stat in stats.dags[0].stats}
        require(counts["success"] >= 1 and len(counts) == 4, f"the counts are {counts}")
        dags = airflow.DAGApi(self.client)
        require(dags.get_dag_tags(tag_name_pattern="client").tags == ["client"], "the tag is not listed")
        found = dags.get_dags(dag_id_prefix_pattern=f"{self.other_dag_id}|{self.dag_id}", order_by=["dag_id"])
        require(sorted(dag.dag_id for dag in found.dags) == sorted([self.other_dag_id, self.dag_id]), f"found {found}")
        source = airflow.DagSourceApi(self.client)
        require(self.other_dag_id in source.get_dag_source(self.other_dag_id).content, "the source is another text")
        refused(404, source.get_dag_source, self.dag_id)
        warnings = airflow.DagWarningApi(self.client).list_dag_warnings(dag_id=self.other_dag_id)
        require(warnings.total_entries == 1 and "no_such_pool" in warnings.dag_warnings[0].message, f"{warnings}")
        require(airflow.ImportErrorApi(self.client).get_import_errors().total_entries == 0, "import errors")
        require(airflow.PluginApi(self.client).get_plugins().total_entries == 0, "plugins")
        require(airflow.ProviderApi(self.client).get_providers().total_entries == 0, "providers")
        jobs = airflow.JobApi(self.client).get_jobs(is_alive=True).jobs
        require(jobs[0].job_type == "SchedulerJob" and jobs[0].latest_heartbeat, f"the jobs are {jobs}")
        config = airflow.ConfigApi(self.client)
        sections = {section.name: section.options for section in config.get_config().sections}
        require("listen" in [option.key for option in sections["core"]], f"the settings are {sections}")
        value = config.get_config_value("core", "parallelism").sections[0].options[0].value
        require(str(value.actual_instance).isdigit(), f"parallelism is {value}")
        refused(404, config.get_config_value, "core", "no_such_option")
        airflow.PoolApi(self.client).post_pool(airflow.PoolBody(name="no_such_pool", slots=1))
        warnings = airflow.DagWarningApi(self.client).list_dag_warnings(dag_id=self.other_dag_id)
        require(warnings.total_entries == 0, f"the pool is there, and yet: {warnings}")

    def materialize(self):
        assets = airflow.AssetApi(self.client)
        require(assets.get_asset_aliases().total_entries == 0, "there are aliases")
        asset = assets.get_assets(name_pattern="client_asset").assets[0]
        run = assets.materialize_asset(asset.id)
        require(run.dag_id == self.other_dag_id, f"the run is of {run.dag_id}")
        look = lambda: self.runs.get_dag_run(run.dag_id, run.dag_run_id).state in ("success", "failed")  # noqa: E731
        until("the end of the run for the asset", look)
        body = airflow.PatchTaskInstanceBody(new_state="failed", note="the group")
        shown = self.tasks.patch_task_group_instances_dry_run(run.dag_id, run.dag_run_id, "parts", body)
        require(shown.total_entries == 2, f"the dry run shows {shown}")
        marked = self.tasks.patch_task_group_instances(run.dag_id, run.dag_run_id, "parts", body)
        states = {one.task_id: (one.state, one.note) for one in marked.task_instances}
        require(states == {"first": ("failed", "the group"), "second": ("failed", "the group")}, f"{states}")
        refused(404, self.tasks.patch_task_group_instances, run.dag_id, run.dag_run_id, "none", body)
        body = airflow.BulkDAGRunClearBody.from_dict({"dag_runs": [{"dag_run_id": run.dag_run_id}], "dry_run": False})
        cleared = self.runs.clear_dag_runs_without_preload_content(run.dag_id, body)
        require(cleared.status == 200, f"clearing answered {cleared.status}")
        require(len(json.loads(cleared.read())["dag_runs"]) == 1, "another number of runs was cleared")
        until("the end of the run that was cleared", look)
        body = {"actions": [{"action": "delete", "entities": [run.dag_run_id]}]}
        done = self.runs.bulk_dag_runs(run.dag_id, airflow.BulkBodyBulkDAGRunBody.from_dict(body))
        require(done.delete.success == [f"{run.dag_id}.{run.dag_run_id}"], f"the run was not deleted: {done}")
        refused(404, self.runs.get_dag_run, run.dag_id, run.dag_run_id)

    def clear(self):
        body = airflow.ClearTaskInstancesBody(dag_run_id=self.run_id, only_failed=False)
        shown = self.tasks.post_clear_task_instances(self.dag_id, body)
        require(shown.task_instances, "the dry run shows nothing to clear")
        require(self.ended(), "the dry run cleared the run")
        task = airflow.ClearTaskInstancesBodyTaskIdsInner(self.task_id)
        body = airflow.ClearTaskInstancesBody(
            dag_run_id=self.run_id, only_failed=False, dry_run=False, task_ids=[task], include_downstream=True
        )
        require(self.tasks.post_clear_task_instances(self.dag_id, body).task_instances, "nothing was cleared")
        run = until("the end of the cleared run", self.ended)
        require(run.state == "success", f"the cleared run ended as {run.state}")
        tries = self.tasks.get_task_instance_tries(self.dag_id, self.run_id, self.task_id)
        require([one.try_number for one in tries.task_instances] == [1, 2], f"the tries are {tries}")
        # The client can't read task instances here: they match both kinds of its `oneOf`, Airflow's own as well.
        body = airflow.DAGRunClearBody(dry_run=True)
        answer = self.runs.clear_dag_run_without_preload_content(self.dag_id, self.run_id, body)
        require(answer.status == 200, f"the dry run of clearing the run answered {answer.status}")
        require(json.loads(answer.read())["task_instances"], "the dry run shows nothing to clear")
        self.runs.clear_dag_run(self.dag_id, self.run_id, airflow.DAGRunClearBody(dry_run=False))
        until("the end of the run that was cleared whole", self.ended)
        patched = self.runs.patch_dag_run(self.dag_id, self.run_id, airflow.DAGRunPatchBody(state="failed"))
        require(patched.state == "failed", f"the run that was marked failed is {patched.state}")

    def delete(self):
        self.runs.delete_dag_run(self.dag_id, self.run_id)
        refused(404, self.runs.get_dag_run, self.dag_id, self.run_id)

    def steps(self):
        return [
            self.version_and_health, self.access, self.dags, self.trigger, self.lists, self.task_instances, self.logs,
            self.xcoms, self.variables, self.connections, self.pools, self.bulk, self.around, self.materialize, self.clear,
            self.delete,
        ]


def main():
    parser = argparse.ArgumentParser(description="Airflow's Python client against an Airlock server")
    parser.add_argument("--url", required=True)
    parser.add_argument("--token", required=True)
    parser.add_argument("--dag-id", default="hello")
    parser.add_argument("--other-dag-id", default="client_dag")
    args = parser.parse_args()
    url = args.url.rstrip("/")
    signed_in = airflow.Configuration(host=url, access_token=args.token)
    with airflow.ApiClient(signed_in) as client, airflow.ApiClient(airflow.Configuration(host=url)) as anonymous:
        for step in Suite(client, anonymous, args.dag_id, args.other_dag_id).steps():
            try:
                step()
            except Failed as error:
                sys.exit(f"{step.__name__}: {error}")
            except Exception:  # Whatever it is, the caller is to see where.
                sys.exit(f"{step.__name__}: {traceback.format_exc()}")
            print(f"ok {step.__name__}", flush=True)


if __name__ == "__main__":
    main()
