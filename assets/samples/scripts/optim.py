"""The optimiser of all three samples: Muon for the matrices of transformer blocks, AdamW for everything else."""

import torch


class Muon(torch.optim.Optimizer):
    """Momentum whose update is made orthogonal by five Newton-Schulz steps (in f32: bf16 is slow on a CPU)."""

    def __init__(self, parameters, lr, momentum=0.95, weight_decay=0.01):
        super().__init__(parameters, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self):
        for group in self.param_groups:
            for p in group["params"]:
                velocity = self.state[p].setdefault("velocity", torch.zeros_like(p))
                velocity.lerp_(p.grad, 1 - group["momentum"])
                x = p.grad.lerp(velocity, group["momentum"])
                tall = x.shape[0] > x.shape[1]
                x = x.T if tall else x
                x = x / (x.norm() + 1e-7)
                for _ in range(5):
                    a = x @ x.T
                    x = 3.4445 * x + (-4.775 * a + 2.0315 * a @ a) @ x
                x = x.T if tall else x
                p.mul_(1 - group["lr"] * group["weight_decay"])
                p.sub_(x, alpha=group["lr"] * max(1.0, p.shape[0] / p.shape[1]) ** 0.5)


class Descent:
    """Both optimisers under one schedule: a linear warm-up, a plateau, and a linear descent to zero."""

    def __init__(self, model, steps, adam_rate, muon_rate=0.02, warm_up=0.05, descent=0.8, weight_decay=0.0):
        matrices = [p for name, p in model.named_parameters() if p.ndim == 2 and name.startswith("blocks.")]
        inside = {id(p) for p in matrices}
        rest = [p for p in model.parameters() if id(p) not in inside]
        self.optimisers = [torch.optim.AdamW(rest, lr=adam_rate, betas=(0.9, 0.98), weight_decay=weight_decay)]
        if matrices:
            self.optimisers.append(Muon(matrices, lr=muon_rate))
        scale = lambda step: min(1.0, (step + 1) / (warm_up * steps), (steps - step) / (descent * steps))
        self.schedules = [torch.optim.lr_scheduler.LambdaLR(o, scale) for o in self.optimisers]

    def step(self, loss):
        for optimiser in self.optimisers:
            optimiser.zero_grad()
        loss.backward()
        for optimiser, schedule in zip(self.optimisers, self.schedules):
            optimiser.step()
            schedule.step()
