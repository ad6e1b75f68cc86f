"""Programs of tasks as data, and a machine that runs one and writes down what happened, turn by turn.

A program is a list of bodies, each of which becomes a task; a body is a list of operations (kind, ...). Nothing depends on
time: deadlines are past, far, or brought forward by an operation, so the same program must leave the same trace on
every loop, with whichever tasks, futures and functions.
"""

import asyncio
import contextvars
import gc
import sys
import types

TURNS = 40
MOST_TASKS = 40
MOST_OPERATIONS = 400
FAR = 3600.0
RESOURCES = 3  # futures, locks, ... that programs can name

variable = contextvars.ContextVar("variable", default="unset")


class Boom(Exception):
    """What programs raise."""


class SubTask(asyncio.Task):
    pass


class SubFuture(asyncio.Future):
    pass


class InOrder(dict):
    """A set that is iterated in the order of insertion: a group that ends cancels its tasks in the order of a set."""

    def add(self, item):
        self[item] = None

    def discard(self, item):
        self.pop(item, None)


def name_of(task):
    """Without the number of one that was given no name, which goes on counting from program to program."""
    return task.get_name().partition("-")[0]


@types.coroutine
def bare(value=None):
    return (yield value)


def described(value):
    if isinstance(value, BaseException):
        # the same exception may have come by different ways, so only what a program sees of it
        return type(value).__name__, tuple(map(str, value.args))
    return value


async def drive(coroutine, watch):
    """Run `coroutine`; `watch()` is called each time before it is suspended."""
    return await driven(coroutine, watch)


@types.coroutine
def driven(coroutine, watch):
    resume, value = coroutine.send, None
    while True:
        try:
            yielded = resume(value)
        except StopIteration as stop:
            return stop.value
        watch()
        resume, value = coroutine.send, None
        try:
            yield yielded
        except BaseException as error:
            resume, value = coroutine.throw, error


class Machine:
    """Runs one program on the running loop. `kit` has gather(), Lock and so on; `watch()`, if given, is called before each
    suspension, in the task that is suspended."""

    def __init__(self, kit, watch=None):
        self.kit, self.watch = kit, watch
        self.loop, self.eager_class = asyncio.get_running_loop(), type(asyncio.current_task())
        self.tasks, self.scopes, self.trace = [], [], []
        self.turn = self.left = 0
        make = [self.loop.create_future, lambda: SubFuture(loop=self.loop), lambda: asyncio.futures._PyFuture(loop=self.loop)]
        self.makers = make
        self.futures = [each() for each in make]
        self.locks = [kit.Lock() for _ in range(RESOURCES)]
        self.event, self.queue, self.condition = kit.Event(), kit.Queue(1), kit.Condition()

    def log(self, *what):
        self.trace.append((self.turn, *what))

    def note_done(self, done):
        self.log("done")

    # --- tasks -----------------------------------------------------------------------------------------------------

    def start(self, body, kind="create"):
        if len(self.tasks) >= MOST_TASKS:
            return None
        name = f"t{len(self.tasks)}"
        self.tasks.append(None)  # eager ones run before they are here
        coroutine = self.coroutine(name, body)
        if kind == "create":
            task = self.loop.create_task(coroutine, name=name)
        elif kind == "eager":
            task = self.eager_class(coroutine, loop=self.loop, name=name, eager_start=True)
        else:
            make = {"stock": asyncio.Task, "subclass": SubTask, "python": asyncio.tasks._PyTask}[kind]
            task = make(coroutine, loop=self.loop, name=name)
        self.tasks[int(name[1:])] = task
        return task

    def coroutine(self, name, body):
        run = self.run_body(name, body)
        return run if self.watch is None else drive(run, self.watch)

    async def run_body(self, name, body):
        self.log(name, "begins", variable.get())
        variable.set(name)
        try:
            await self.run_all(name, body)
        except BaseException as error:
            self.log(name, "ends", described(error))
            raise
        self.log(name, "ends")
        return name

    async def run_all(self, name, body):
        for operation in body:
            if self.left <= 0:
                return
            self.left -= 1
            await self.run_one(name, *operation)

    async def run_one(self, name, kind, *arguments):
        result = None
        try:
            result = await getattr(self, f"do_{kind}")(name, *arguments)
        except asyncio.CancelledError as error:
            self.log(name, kind, described(error))
            raise
        except Boom as error:
            self.log(name, kind, described(error))
            if kind == "raise":
                raise
        except Exception as error:
            self.log(name, kind, described(error))
        else:
            self.log(name, kind, described(result))

    def later_ones(self, name, number, count=1):
        """Tasks that `name` may wait for: younger ones, so that no two wait for each other."""
        after = [task for task in self.tasks[int(name[1:]) + 1 :] if task is not None]
        return [after[(number + each) % len(after)] for each in range(min(count, len(after)))]

    def some_task(self, number):
        made = [task for task in self.tasks if task is not None]
        return made[number % len(made)] if made else None

    def some_awaitable(self, name, number):
        tasks = self.later_ones(name, number)
        return tasks[0] if tasks and number % 3 else self.futures[number % RESOURCES]

    # --- operations without a body ---------------------------------------------------------------------------------

    async def do_sleep(self, name, number):
        return await self.kit.sleep(0, number)

    async def do_forever(self, name, number):
        await self.kit.sleep(FAR)

    async def do_bare(self, name, number):
        return await bare()

    async def do_bad(self, name, number):
        return await bare(number)

    async def do_raise(self, name, number):
        raise Boom(number)

    async def do_future(self, name, number):
        return await self.futures[number % RESOURCES]

    async def do_resolve(self, name, number):
        self.futures[number % RESOURCES].set_result(number)

    async def do_fail(self, name, number):
        self.futures[number % RESOURCES].set_exception(Boom(number))

    async def do_cancel_future(self, name, number):
        return self.futures[number % RESOURCES].cancel(f"by {name}")

    async def do_renew(self, name, number):
        at = number % RESOURCES
        if self.futures[at].done():
            self.futures[at] = self.makers[number // RESOURCES % RESOURCES]()

    async def do_call_back(self, name, number):
        awaited, context = self.some_awaitable(name, number), contextvars.copy_context()
        awaited.add_done_callback(lambda done: self.log(name, "called back", variable.get()), context=context)

    async def do_remove(self, name, number):
        awaited = self.some_awaitable(name, number)
        awaited.add_done_callback(self.note_done)
        return awaited.remove_done_callback(self.note_done)

    async def do_wait_for_task(self, name, number):
        return [await task for task in self.later_ones(name, number)]

    async def do_cancel(self, name, number):
        task = self.some_task(number)
        return task and task.cancel(*([f"by {name}"] if number % 2 else [])), task and task.cancelling()

    async def do_uncancel(self, name, number):
        return asyncio.current_task().uncancel() if asyncio.current_task().cancelling() else None

    async def do_look(self, name, number):
        task, current = self.some_task(number), asyncio.current_task()
        every = sorted(map(name_of, asyncio.all_tasks()))
        state = [] if task is None else [task.done(), task.cancelled(), task.cancelling(), task.get_name()]
        return name_of(current), every, state, variable.get()

    async def do_shield(self, name, number):
        return await self.kit.shield(self.some_awaitable(name, number))

    async def do_gather(self, name, number):
        tasks = self.later_ones(name, number, 3)
        results = await self.kit.gather(*tasks, *tasks[:1], self.futures[number % RESOURCES], return_exceptions=number % 2)
        return [described(each) for each in results]

    async def do_wait(self, name, number):
        when = (asyncio.ALL_COMPLETED, asyncio.FIRST_COMPLETED, asyncio.FIRST_EXCEPTION)[number % 3]
        tasks = self.later_ones(name, number, 3)
        done, pending = await self.kit.wait(tasks, return_when=when, timeout=(None, 0, FAR)[number // 3 % 3])
        return sorted(each.get_name() for each in done), sorted(each.get_name() for each in pending)

    async def do_as_completed(self, name, number):
        results = []
        for each in self.kit.as_completed(self.later_ones(name, number, 3), timeout=FAR if number % 2 else None):
            try:
                results.append(await each)
            except (Boom, asyncio.CancelledError) as error:
                if asyncio.current_task().cancelling():
                    raise
                results.append(described(error))
        return sorted(map(repr, results))  # those that were done before come in the order of a set

    async def do_wait_for(self, name, number):
        return await self.kit.wait_for(self.some_awaitable(name, number), (None, 0, FAR, -1)[number % 4])

    async def do_expire(self, name, number):
        """Bring the deadline of a timeout that is entered forward."""
        scopes = [scope for scope in self.scopes if not scope.expired()]
        if scopes:
            scopes[number % len(scopes)].reschedule(self.loop.time() - 1 if number % 3 else None)

    async def do_put(self, name, number):
        return await self.queue.put(number)

    async def do_get(self, name, number):
        return await self.queue.get()

    async def do_event(self, name, number):
        return await (self.event.wait() if number % 3 == 0 else bare(self.event.set() if number % 3 == 1 else self.event.clear()))

    async def do_notify(self, name, number):
        async with self.condition:
            self.condition.notify(number % 3)

    async def do_wait_notified(self, name, number):
        async with self.condition:
            return await self.condition.wait()

    async def do_soon(self, name, number):
        self.loop.call_soon(self.log, name, "soon", number)
        self.loop.call_later(FAR, self.log, "never").cancel()

    # --- operations with a body ------------------------------------------------------------------------------------

    async def do_spawn(self, name, body, number):
        kinds = ["create", "create", "stock", "subclass", "python"] + (["eager"] if sys.version_info >= (3, 12) else [])
        self.start(body, kinds[number % len(kinds)])

    async def do_catch(self, name, body, number):
        try:
            await self.run_all(name, body)
        except asyncio.CancelledError as error:
            return described(error)

    async def do_finally(self, name, body, number):
        try:
            await self.futures[number % RESOURCES]
        finally:
            await self.run_all(name, body)

    async def do_repeat(self, name, body, number):
        for _ in range(3):
            await self.run_all(name, body)

    async def do_lock(self, name, body, number):
        async with self.locks[number % RESOURCES]:
            await self.run_all(name, body)

    async def do_timeout(self, name, body, number):
        async with self.kit.timeout((None, 0, FAR, -1, FAR)[number % 5]) as scope:
            self.scopes.append(scope)
            try:
                await self.run_all(name, body)
            finally:
                self.scopes.remove(scope)
        return scope.expired()

    async def do_await_for(self, name, body, number):
        return await self.kit.wait_for(self.run_all(name, body), (None, FAR)[number % 2])

    async def do_generator(self, name, body, number):
        async def generate():
            try:
                for each in range(3):
                    await self.run_all(name, body)
                    yield each
            finally:
                await self.kit.sleep(0)
                self.log(name, "generated")

        generator = generate()
        try:
            async for each in generator:
                if each == number % 3:
                    break
        finally:
            await generator.aclose()

    async def do_group(self, name, bodies, number):
        group = self.kit.TaskGroup()
        group._tasks = InOrder()
        async with group:
            for index, body in enumerate(bodies):
                group.create_task(self.coroutine(f"{name}.{index}", body), name=f"{name}.{index}")
            await self.kit.sleep(0)
            if number % 3 == 0:
                raise Boom(number)

    async def do_gather_bodies(self, name, bodies, number):
        each = [self.coroutine(f"{name}.{index}", body) for index, body in enumerate(bodies)]
        return [described(result) for result in await self.kit.gather(*each, return_exceptions=number % 2)]

    # --- a whole program -------------------------------------------------------------------------------------------

    async def pass_turns(self, count):
        for _ in range(count):
            await asyncio.sleep(0)
            self.turn += 1

    def left_over(self):
        """Tasks that are not done, in an order that does not depend on how far others have counted ("Task-99", "Task-100")."""
        every = {*asyncio.all_tasks(), *filter(None, self.tasks)}  # not all versions list tasks of the Python class
        left = [task for task in every if not task.done() and task is not asyncio.current_task()]
        return sorted(left, key=lambda task: (len(task.get_name()), task.get_name()))

    async def run(self, program):
        self.left = MOST_OPERATIONS
        for body in program:
            self.start(body)
        await self.pass_turns(TURNS)
        self.log("cancelled", [name_of(task) for task in self.left_over()])
        self.left = min(self.left, MOST_OPERATIONS // 4)
        while left := self.left_over():
            for task in left:
                task.cancel("at the end")
            await self.pass_turns(5)
            assert self.turn < 1000, left
        self.log([task.cancelled() or described(task.exception()) or task.result() for task in filter(None, self.tasks)])
        self.settle()
        return self.trace

    def settle(self):
        """So that nothing is reported of what nobody asked for."""
        for future in self.futures:
            if not future.cancel() and not future.cancelled():
                future.exception()


class Cancelling:
    """A watch that cancels the task at its place among all suspensions, before it waits or when it does."""

    def __init__(self, place, at_once):
        self.place, self.at_once, self.seen = place, at_once, 0

    def __call__(self):
        if self.seen == self.place:
            cancel = asyncio.current_task().cancel
            cancel("injected") if self.at_once else asyncio.get_running_loop().call_soon(cancel, "injected")
        self.seen += 1


def complain(machine, loop, context):
    machine.log("complaint", context["message"].partition("\n")[0], type(context.get("exception")).__name__)


def traced(factory, kit, program, watch=None):
    """The trace of `program` on a new loop; `watch` as in Machine."""

    async def main():
        asyncio.current_task().set_name("main")
        machine = Machine(kit, watch)
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda loop, context: complain(machine, loop, context))
        gc.disable()  # when it runs is no part of the trace
        try:
            return await machine.run(program)
        finally:
            gc.enable()

    loop = factory()
    try:
        return loop.run_until_complete(main())
    finally:
        loop.close()
